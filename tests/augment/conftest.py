"""Set albumentations' environment before the tests here import it; see medsimclr/augment."""

import medsimclr.augment  # noqa: F401
