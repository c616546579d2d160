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
MIN_LEVEL_PX = 20_000
SAMPLE_STEP = 7
N_RANK_BINS = 24
RANKS = np.linspace(0, 1, 129)
GRID = np.linspace(0, MAX_CONCENTRATION, N_LEVELS)


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
    """Give both kinds of tissue the same joint distribution of the two stains.

    Haematoxylin is mapped by quantiles to the mean of both kinds' distributions, then eosin likewise
    among the pixels of like haematoxylin (the Knothe-Rosenblatt map). Pale stays pale and dark stays
    dark, but no statistic of the pixels of a slide, taken out of their places, tells the kinds
    apart: what is left to tell them is form.

    Args:
        canvas_2HW: concentrations of haematoxylin and eosin.
        tumor_HW: True where the tissue is tumour.
        tissue_HW: True where there is tissue at all.

    Returns:
        levelled_2HW; the canvas itself where the tissue is of one kind.
    """
    kind_HWs = (tissue_HW & ~tumor_HW, tissue_HW & tumor_HW)
    if min(np.count_nonzero(kind_HW) for kind_HW in kind_HWs) < MIN_LEVEL_PX:
        return canvas_2HW
    # The seam between the kinds is faded over a nucleus or two.
    tumor_share_HW = cv2.GaussianBlur(tumor_HW.astype(np.float32), (0, 0), 12)
    sample_2Ps = [canvas_2HW[:, kind_HW][:, ::SAMPLE_STEP] for kind_HW in kind_HWs]
    stain_LQs = [np.quantile(sample_2P[0], RANKS) for sample_2P in sample_2Ps]
    rank_Ps = [
        np.interp(sample_2P[0], level_Q, RANKS)
        for sample_2P, level_Q in zip(sample_2Ps, stain_LQs, strict=True)
    ]
    eosin_2RQ = np.stack(
        [
            _conditional_quantiles(sample_2P[1], rank_P)
            for sample_2P, rank_P in zip(sample_2Ps, rank_Ps, strict=True)
        ]
    )
    levelled = []
    for k in range(2):
        rank_HW = _look_up(canvas_2HW[0], stain_LQs[k], RANKS)
        haematoxylin_HW = _look_up(canvas_2HW[0], stain_LQs[k], (stain_LQs[0] + stain_LQs[1]) / 2)
        table_RL = np.stack(
            [
                np.interp(GRID, eosin_2RQ[k, r], eosin_2RQ[:, r].mean(axis=0))
                for r in range(N_RANK_BINS)
            ]
        ).astype(np.float32)
        eosin_HW = cv2.remap(
            table_RL,
            canvas_2HW[1] * np.float32((N_LEVELS - 1) / MAX_CONCENTRATION),
            rank_HW * np.float32(N_RANK_BINS) - np.float32(0.5),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        levelled.append((haematoxylin_HW, eosin_HW))
    return np.stack(
        [
            normal_HW + tumor_share_HW * (tumor_level_HW - normal_HW)
            for normal_HW, tumor_level_HW in zip(*levelled, strict=True)
        ]
    )


def _conditional_quantiles(eosin_P, rank_P):
    """Quantiles of eosin within each bin of haematoxylin's rank: eosin_RQ."""
    bin_P = np.minimum((rank_P * N_RANK_BINS).astype(np.int64), N_RANK_BINS - 1)
    return np.stack([np.quantile(eosin_P[bin_P == r], RANKS) for r in range(N_RANK_BINS)])


def _look_up(plane_HW, from_Q, to_Q):
    table_L = np.interp(GRID, from_Q, to_Q).astype(np.float32)
    step_HW = np.minimum(plane_HW * np.float32((N_LEVELS - 1) / MAX_CONCENTRATION), N_LEVELS - 1)
    return table_L[step_HW.astype(np.int32)]


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
    canvas_HW2 = cv2.merge(list(canvas_2HW))
    rgb_HW3 = cv2.exp(cv2.transform(canvas_HW2, -vectors_23.T))
    light_HW = 1 + 0.006 * smooth_field(shape_hw, max(shape_hw) / 3, rng)
    rgb_HW3 *= cv2.merge([light_HW * np.float32(glass) for glass in appearance.glass_rgb])
    # Noise for every pixel would cost more than the tissue; half a slide's side repeats unseen.
    half_hw = (shape_hw[0] // 2 + 1, shape_hw[1] // 2 + 1)
    noise = 1.8 * rng.standard_normal((*half_hw, 3), np.float32)
    rgb_HW3 += np.tile(noise, (2, 2, 1))[: shape_hw[0], : shape_hw[1]]
    # convertScaleAbs rounds and saturates; nothing below zero matters under white light.
    rgb: npt.NDArray[np.uint8] = cv2.convertScaleAbs(np.maximum(rgb_HW3, 0))
    return rgb
