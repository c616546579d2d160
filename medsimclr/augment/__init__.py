"""The augmentation policy contract, discovery of policies, and stain and colour operations."""

import os

# albumentations asks the network for its newest version while it is imported, and warns when a
# newer one exists; it reads this variable once, so it must be set before any policy imports it.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
