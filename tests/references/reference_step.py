"""The training steps that the reference itself computed, and what it computed them from.

Two files hold them: golden/simclr_step.npz of the real data in float32, and reference_steps.npz
beside this module in float64, which make_reference_steps.py wrote. Only NumPy is needed here.
"""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLOAT64_STEPS", "STEP_CASES", "StepCase", "draw_images", "draw_variable"]

FLOAT64_STEPS = Path(__file__).with_name("reference_steps.npz")


class StepCase(NamedTuple):
    """Encoder and images of a step."""

    depth: Literal[18, 34, 50, 101, 152, 200]
    width: int
    selective_kernels: bool
    size_hw: tuple[int, int]
    stem: Literal["standard", "small"] = "standard"
    n_images: int = 8
    is_coloured: bool = False
    """Images of unlike colours rather than all of one noise, which batch norm blows up."""


STEP_CASES: dict[str, StepCase] = {
    "r18_1x_sk0_32px": StepCase(18, 1, False, (32, 32), "small"),
    "r50_1x_sk0_64px": StepCase(50, 1, False, (64, 64)),
    "r50_1x_sk1_64px": StepCase(50, 1, True, (64, 64)),
    "r18_2x_sk1_33x47": StepCase(18, 2, True, (33, 47), n_images=4, is_coloured=True),
    "r34_1x_sk0_65x50": StepCase(34, 1, False, (65, 50), n_images=4, is_coloured=True),
    "r50_1x_sk1_17x12": StepCase(50, 1, True, (17, 12), "small", n_images=4, is_coloured=True),
    "r101_1x_sk1_35x48": StepCase(101, 1, True, (35, 48), n_images=4, is_coloured=True),
}


def draw_images(case: StepCase) -> NDArray[np.float32]:
    """Draw the images (N, H, W, C) of a case; the first half is view a."""
    random = np.random.RandomState(7)
    image_NHWC = random.random_sample((case.n_images, *case.size_hw, 3)).astype(np.float32)
    if case.is_coloured:
        image_NHWC *= random.random_sample((case.n_images, 1, 1, 3)).astype(np.float32)
    return image_NHWC


def draw_variable(name: str, shape: tuple[int, ...], *, seed: int) -> NDArray[np.float32]:
    """Draw a variable as golden/README.md says."""
    random = np.random.RandomState(seed)
    if name.endswith("gamma:0"):
        values = 1 + 0.2 * random.standard_normal(shape)
    elif name.endswith("moving_variance:0"):
        values = 1 + 0.2 * random.random_sample(shape)
    elif name.endswith("kernel:0"):
        values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))
    else:
        values = 0.1 * random.standard_normal(shape)
    return values.astype(np.float32)
