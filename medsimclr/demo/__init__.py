"""A synthetic cohort, and the whole pipeline run on it."""
