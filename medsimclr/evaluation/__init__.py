"""Honest evaluation: metrics with intervals over patients, and baselines."""
