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

__all__ = ["CENTRES", "STAIN_VECTORS", "Appearance", "level_kinds", "stain_to_rgb"]

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

STAIN_VECTORS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]], np.float32)
STAIN_VECTORS /= np.linalg.norm(STAIN_VECTORS, axis=1, keepdims=True)

N_LEVELS = 2048
MAX_CONCENTRATION = 4.0
MIN_LEVEL_PX = 10_000


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


def level_kinds(canvas_2HW: Floats, tumor_HW: Bools, tissue_HW: Bools) -> Floats:
    """Give both kinds of tissue the same distribution of each stain.

    Each kind's concentrations are mapped by quantiles to the mean of the two distributions: the
    order of pale and dark stays, and no statistic of one stain over a whole slide tells the kinds
    apart. What is left to tell them is form.

    Args:
        canvas_2HW: concentrations of haematoxylin and eosin.
        tumor_HW: True where the tissue is tumour.
        tissue_HW: True where there is tissue at all.

    Returns:
        levelled_2HW; the canvas itself where the tissue is of one kind.
    """
    kinds_2HW = (tissue_HW & ~tumor_HW, tissue_HW & tumor_HW)
    if min(np.count_nonzero(kind_HW) for kind_HW in kinds_2HW) < MIN_LEVEL_PX:
        return canvas_2HW
    rank_Q = np.linspace(0, 1, 257)
    blend_HW = cv2.GaussianBlur(tumor_HW.astype(np.float32), (0, 0), 12)
    grid_L = np.linspace(0, MAX_CONCENTRATION, N_LEVELS)
    levelled = []
    for plane_HW in canvas_2HW:
        levels_2Q = [np.quantile(plane_HW[kind_HW][::17], rank_Q) for kind_HW in kinds_2HW]
        mean_Q = (levels_2Q[0] + levels_2Q[1]) / 2
        step_HW = (plane_HW * (N_LEVELS / MAX_CONCENTRATION)).astype(np.int32)
        np.clip(step_HW, 0, N_LEVELS - 1, out=step_HW)
        normal_HW, tumor_level_HW = (
            np.interp(grid_L, level_Q, mean_Q).astype(np.float32)[step_HW] for level_Q in levels_2Q
        )
        levelled.append(normal_HW + blend_HW * (tumor_level_HW - normal_HW))
    return np.stack(levelled)


def stain_to_rgb(
    canvas_2HW: Floats,
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
        rgb_HW3, slightly blurred as by optics, over glass that is lit a little unevenly.
    """
    shape_hw = canvas_2HW.shape[1:]
    gain_2 = np.array(appearance.stain_gain) * np.array(strength)
    vectors_23 = gain_2[:, None] * STAIN_VECTORS * np.array(appearance.channel_gain)
    sharp_HW2 = cv2.merge([cv2.GaussianBlur(plane_HW, (0, 0), 0.65) for plane_HW in canvas_2HW])
    rgb_HW3 = cv2.exp(cv2.transform(sharp_HW2, -vectors_23.T))
    light_HW = 1 + 0.006 * smooth_field(shape_hw, max(shape_hw) / 3, rng)
    rgb_HW3 *= cv2.merge([light_HW * np.float32(glass) for glass in appearance.glass_rgb])
    # Noise for every pixel would cost more than the tissue; half a slide's side repeats unseen.
    half_hw = (shape_hw[0] // 2 + 1, shape_hw[1] // 2 + 1)
    noise = 1.8 * rng.standard_normal((*half_hw, 3), np.float32)
    rgb_HW3 += np.tile(noise, (2, 2, 1))[: shape_hw[0], : shape_hw[1]]
    # convertScaleAbs rounds and saturates; nothing below zero matters under white light.
    rgb: npt.NDArray[np.uint8] = cv2.convertScaleAbs(np.maximum(rgb_HW3, 0))
    return rgb
