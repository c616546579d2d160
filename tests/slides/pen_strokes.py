"""Pen strokes painted over a picture as ink lies on a slide: it multiplies the light."""

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["paint_stroke"]

# Corners of the stroke, as shares of width and height.
_CORNERS = ((0.1, 0.15), (0.45, 0.08), (0.8, 0.2), (0.85, 0.6), (0.55, 0.5), (0.3, 0.75))


def paint_stroke(
    rgb_HW3: NDArray[np.uint8],
    pen_rgb: tuple[int, int, int],
    *,
    width_px: int = 28,
    blur_px: float = 2.0,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the picture with a stroke of uneven thickness and soft edges, and where it is.

    Args:
        rgb_HW3: The slide.
        pen_rgb: Colour of the pen on white glass.
        width_px: Breadth of the stroke.
        blur_px: Standard deviation of the blur: ink lies outside the focal plane.
    """
    height, width = rgb_HW3.shape[:2]
    generator = np.random.default_rng(0)
    stroke_HW = np.zeros((height, width), np.uint8)
    corners = (np.array(_CORNERS) * [width, height]).astype(np.int32)
    cv2.polylines(stroke_HW, [corners], False, 1, width_px)
    amount_HW = cv2.GaussianBlur(stroke_HW.astype(np.float64), (0, 0), blur_px)
    unevenness = generator.normal(1, 0.12, (max(height // 40, 2), max(width // 40, 2)))
    thickness_HW = cv2.resize(unevenness, (width, height), interpolation=cv2.INTER_CUBIC)
    amount_HW *= np.clip(thickness_HW, 0.6, 1.4)
    light_HW3 = rgb_HW3 * ((np.array(pen_rgb) + 1) / 250) ** amount_HW[:, :, None]
    light_HW3 += generator.normal(0, 1.5, light_HW3.shape)
    return np.clip(light_HW3, 0, 255).round().astype(np.uint8), stroke_HW.astype(np.bool_)
