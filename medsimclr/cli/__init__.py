"""The command line: one file per command, options to configuration to one call."""
