"""Take colour away as a clue: both kinds of tissue get the same distribution of the stains.

Haematoxylin is mapped by quantiles to the mean of the two kinds' distributions, then eosin likewise
among pixels of like haematoxylin (the Knothe-Rosenblatt map). Pale stays pale and dark stays dark,
but the pixels of a slide, taken out of their places, hardly tell the kinds apart: what is left to
tell them is form.

Shape legend: HW pixels of level 0, 2 stains (haematoxylin, eosin), P sampled pixels, Q quantiles,
R bins of haematoxylin's rank, L steps of concentration.
"""

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["level_kinds"]

_Floats = npt.NDArray[np.float32]
_Doubles = npt.NDArray[np.float64]
_Bools = npt.NDArray[np.bool_]

_MAX_CONCENTRATION = 4.0
_STEP_L = np.linspace(0, _MAX_CONCENTRATION, 2048)
_STEPS_PER_UNIT = np.float32((len(_STEP_L) - 1) / _MAX_CONCENTRATION)
_RANK_Q = np.linspace(0, 1, 129)
_N_RANK_BINS = 24
# One pixel in so many is sampled; fewer pixels of a kind than this have no distribution to level.
_SAMPLE_STRIDE = 7
_MIN_KIND_PX = 20_000
# The seam between the kinds is faded over about a nucleus.
_SEAM_PX = 12.0


def level_kinds(canvas_2HW: _Floats, tumor_HW: _Bools, tissue_HW: _Bools) -> _Floats:
    """Give both kinds of tissue the same joint distribution of the two stains.

    Args:
        canvas_2HW: concentrations of haematoxylin and eosin, zero or more.
        tumor_HW: True where the tissue is tumour.
        tissue_HW: True where there is tissue at all.

    Returns:
        levelled_2HW; the canvas itself where nearly all tissue is of one kind.
    """
    masks = (tissue_HW & ~tumor_HW, tissue_HW & tumor_HW)
    if min(np.count_nonzero(mask_HW) for mask_HW in masks) < _MIN_KIND_PX:
        return canvas_2HW
    samples = [canvas_2HW[:, mask_HW][:, ::_SAMPLE_STRIDE] for mask_HW in masks]
    haematoxylin = [np.quantile(sample_2P[0], _RANK_Q) for sample_2P in samples]
    eosin = [_eosin_quantiles(sample_2P) for sample_2P in samples]
    normal_2HW, tumor_2HW = (
        _transport(
            canvas_2HW,
            haematoxylin_from_Q=haematoxylin[kind],
            haematoxylin_to_Q=(haematoxylin[0] + haematoxylin[1]) / 2,
            eosin_from_RQ=eosin[kind],
            eosin_to_RQ=(eosin[0] + eosin[1]) / 2,
        )
        for kind in (0, 1)
    )
    share_HW = cv2.GaussianBlur(tumor_HW.astype(np.float32), (0, 0), _SEAM_PX)
    tumor_2HW -= normal_2HW
    tumor_2HW *= share_HW
    normal_2HW += tumor_2HW
    return normal_2HW


def _eosin_quantiles(sample_2P: _Floats) -> _Doubles:
    """Compute the quantiles of eosin in each bin of haematoxylin's rank: eosin_RQ."""
    order_P = np.argsort(sample_2P[0], kind="stable")
    bins = np.array_split(sample_2P[1][order_P], _N_RANK_BINS)
    return np.stack([np.quantile(eosin_P, _RANK_Q) for eosin_P in bins])


def _transport(
    canvas_2HW: _Floats,
    *,
    haematoxylin_from_Q: _Doubles,
    haematoxylin_to_Q: _Doubles,
    eosin_from_RQ: _Doubles,
    eosin_to_RQ: _Doubles,
) -> _Floats:
    """Map both stains from one set of quantiles to another: mapped_2HW."""
    step_2HW = np.minimum(canvas_2HW * _STEPS_PER_UNIT, np.float32(len(_STEP_L) - 1))
    index_HW = step_2HW[0].astype(np.int32)
    rank_L = np.interp(_STEP_L, haematoxylin_from_Q, _RANK_Q).astype(np.float32)
    haematoxylin_L = np.interp(_STEP_L, haematoxylin_from_Q, haematoxylin_to_Q).astype(np.float32)
    eosin_RL = np.stack(
        [
            np.interp(_STEP_L, from_Q, to_Q)
            for from_Q, to_Q in zip(eosin_from_RQ, eosin_to_RQ, strict=True)
        ]
    ).astype(np.float32)
    # Between the centres of two bins the maps are mixed, or contours of equal rank would show.
    bin_HW = (rank_L * np.float32(_N_RANK_BINS) - np.float32(0.5))[index_HW]
    eosin_HW = cv2.remap(
        eosin_RL, step_2HW[1], bin_HW, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.stack([haematoxylin_L[index_HW], eosin_HW])
