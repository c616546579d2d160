"""From stain concentrations to a scanned image.

Beer-Lambert: I = I0 exp(-c @ V), with the unit vectors V of haematoxylin and eosin from Ruifrok &
Johnston 2001 (Anal Quant Cytol Histol 23:291).

Shape legend: HW pixels of level 0, 2 stains (haematoxylin, eosin), 3 RGB.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from medsimclr.demo.noise import smooth_field

__all__ = ["CENTRES", "STAIN_VECTORS", "Appearance", "stain_to_rgb"]

_Floats = npt.NDArray[np.float32]

STAIN_VECTORS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]], np.float32)
STAIN_VECTORS /= np.linalg.norm(STAIN_VECTORS, axis=1, keepdims=True)

# Deviations of the red and blue optical densities across a section, as dyes shift in hue. Chosen
# here: two exact stains alone would leave traces of the kind in how the channels correlate.
_HUE_SPREAD = {0: 0.035, 2: 0.11}
_SENSOR_NOISE = 1.8


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """How a laboratory stains and scans: gains in optical-density space."""

    stain_gain: tuple[float, float]
    """Factors of the haematoxylin and eosin concentrations."""
    channel_gain: tuple[float, float, float]
    """Factors of the red, green and blue optical densities."""
    glass_rgb: tuple[float, float, float]
    """Intensity of empty glass, 0 to 255."""


CENTRES = {
    "A": Appearance(
        stain_gain=(1.05, 1.10), channel_gain=(1.0, 1.0, 1.2), glass_rgb=(244.0, 242.0, 240.0)
    ),
    "B": Appearance(
        stain_gain=(1.22, 0.82), channel_gain=(1.05, 0.95, 0.95), glass_rgb=(240.0, 242.0, 246.0)
    ),
}


def stain_to_rgb(
    canvas_2HW: _Floats,
    *,
    appearance: Appearance,
    strength: tuple[float, float],
    rng: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """Turn stain concentrations into a scanned image by Beer-Lambert.

    Args:
        canvas_2HW: concentrations of haematoxylin and eosin.
        appearance: the laboratory and its scanner.
        strength: factors of the two stains for this patient.
        rng: source of uneven light and sensor noise.

    Returns:
        rgb_HW3, with a little sensor noise, over glass that is lit a little unevenly.
    """
    shape_hw = canvas_2HW.shape[1:]
    gain_2 = np.array(appearance.stain_gain) * np.array(strength)
    vectors_23 = gain_2[:, None] * STAIN_VECTORS * np.array(appearance.channel_gain)
    canvas_HW2 = cv2.merge(list(canvas_2HW))
    density_HW3 = cv2.transform(canvas_HW2, -vectors_23.T)
    for channel, spread in _HUE_SPREAD.items():
        patchiness_HW = smooth_field(shape_hw, 24, rng) * smooth_field(shape_hw, 260, rng)
        hue_HW = 1 + spread * (smooth_field(shape_hw, 180, rng) + patchiness_HW)
        density_HW3[..., channel] *= np.clip(hue_HW, 0.5, 1.5)
    rgb_HW3 = cv2.exp(density_HW3)
    light_HW = 1 + 0.006 * smooth_field(shape_hw, max(shape_hw) / 3, rng)
    rgb_HW3 *= cv2.merge([light_HW * np.float32(glass) for glass in appearance.glass_rgb])
    # Noise for every pixel would cost more than the tissue; half a slide's side repeats unseen.
    half_hw = (shape_hw[0] // 2 + 1, shape_hw[1] // 2 + 1)
    noise = np.float32(_SENSOR_NOISE) * rng.standard_normal((*half_hw, 3), np.float32)
    rgb_HW3 += np.tile(noise, (2, 2, 1))[: shape_hw[0], : shape_hw[1]]
    # convertScaleAbs rounds and saturates; nothing below zero matters under white light.
    rgb: npt.NDArray[np.uint8] = cv2.convertScaleAbs(np.maximum(rgb_HW3, 0))
    return rgb
