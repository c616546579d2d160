"""Pictures and results that people look at."""
