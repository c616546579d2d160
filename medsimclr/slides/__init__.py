"""Slides: reading, scale, tissue, focus and annotations."""
