"""Random crops of TensorFlow, step by step, with the arguments that SimCLRv2 gives.

Source: tensorflow/core/kernels/image/sample_distorted_bounding_box_op.cc, `GenerateRandomCrop`, for
a square image; area 0.08 to 1, aspect ratio 3/4 to 4/3, at least 0.1 covered, 100 attempts.
"""

import math


def sample_crop(side, rng):
    """Return (height, width) of a crop of a square image, pixels."""
    whole = side * side
    for _ in range(100):
        aspect = rng.uniform(3 / 4, 4 / 3)
        height = round(math.sqrt(0.08 * whole / aspect))
        highest = round(math.sqrt(whole / aspect))
        if round(highest * aspect) > side:
            highest = int((side + 0.5 - 1e-7) / aspect)
        if round(highest * aspect) > side:
            highest -= 1
        highest = min(highest, side)
        height = min(height, highest)
        if height < highest:
            height += rng.randrange(highest - height + 1)
        width = round(height * aspect)
        if width * height < 0.08 * whole:
            height += 1
            width = round(height * aspect)
        fits = width <= side and height <= side and 0.08 * whole <= width * height <= whole
        if fits and width * height >= 0.1 * whole:
            return height, width
    return side, side
