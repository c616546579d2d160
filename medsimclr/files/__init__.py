"""Durable, atomic writes, checksums and locks."""
