"""Our augmentation policies, one file each; found by entry point like a stranger's."""
