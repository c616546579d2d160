"""The tile store: a Zarr v3 hierarchy that is committed slide by slide and checked at reading."""
