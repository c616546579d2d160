"""One frozen model per command: the source of its options, its TOML file and its record."""
