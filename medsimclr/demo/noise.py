"""Smooth random fields, from which tissue gets its texture, its regions and its outline."""

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["smooth_field"]


def smooth_field(
    shape_hw: tuple[int, int], scale_px: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Draw a smooth Gaussian random field, about zero mean and unit deviation.

    Args:
        shape_hw: shape of the field.
        scale_px: length over which it changes; noise is drawn at this pitch and interpolated.
        rng: source of the noise.
    """
    height, width = shape_hw
    # Interpolated white noise shows its lattice; a blur of one node at half the pitch hides it.
    pitch_px = max(1, round(scale_px / 2))
    # Cubic is smooth and dear: a coarse field is brought to a quarter by it, the rest is linear.
    linear = 4 if pitch_px >= 12 else 1
    cubic = round(pitch_px / linear)
    nodes_hw = (height // (cubic * linear) + 2, width // (cubic * linear) + 2)
    noise = rng.standard_normal(nodes_hw, np.float32)
    # 0.282 is the deviation of white noise after that blur, 1 / (2 sqrt(pi)).
    nodes = np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.0), np.float32) / np.float32(0.282)
    field = cv2.resize(nodes, None, fx=cubic, fy=cubic, interpolation=cv2.INTER_CUBIC)
    if linear > 1:
        field = field[: height // linear + 2, : width // linear + 2]
        field = cv2.resize(field, None, fx=linear, fy=linear, interpolation=cv2.INTER_LINEAR)
    return np.asarray(field[:height, :width], np.float32)
