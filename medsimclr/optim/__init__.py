"""Optimiser and learning rate."""
