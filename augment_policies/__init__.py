"""Our augmentation policies, one file each; found by entry point like a stranger's."""

# First of all imports here: it keeps albumentations from asking the network for its version.
import medsimclr.augment  # noqa: F401
