"""Tiles in batches: the index, the split, the labels, the order of samples, the views."""
