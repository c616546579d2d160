"""The stain vectors of a slide, estimated from its pixels.

Source: Macenko et al. 2009 (ISBI, "A method for normalizing histology slides"): the optical
densities of two stains lie in a plane, between two rays. The plane is that of the two largest
eigenvectors of their covariance, the rays are robust extremes of the angle in it.

Where we differ:
- Tissue is where the mean density exceeds TISSUE_OD_MIN; ink and folds, above 2.5, are left out.
- Which ray is haematoxylin is decided by the red channel, which eosin hardly absorbs.
- An estimate is believed only if it can be H&E: enough tissue, two rays at least 8 degrees apart,
  each within 35 degrees of the published vector. Else the published vectors stand in, with the
  maxima that the slide has under them; without tissue, there is no estimate at all.

Shapes: N3 = pixels, RGB. Densities are natural logarithms, as in `stain`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsimclr.augment.stain import HED_TO_OD, OD_OF_LEVEL

__all__ = [
    "PUBLISHED_HE",
    "TISSUE_OD_MIN",
    "SlideStain",
    "fit_slide_stains",
    "slide_stain",
    "tissue_density",
]

TISSUE_OD_MIN = 0.15
"""Mean optical density from which a pixel is tissue (Macenko 2009: 0.15)."""

_INK_OD = 2.5
_TISSUE_PIXELS_MIN = 200
_PIXELS_MAX = 100_000
_ANGLE_PERCENTILES = (1.0, 99.0)  # Macenko 2009
_MAXIMUM_PERCENTILE = 99.0  # Macenko 2009
_APART_MIN = np.deg2rad(8.0)
_FROM_PUBLISHED_MAX = np.deg2rad(35.0)
PUBLISHED_HE: NDArray[np.float64] = np.asarray(
    HED_TO_OD[:2] / np.linalg.norm(HED_TO_OD[:2], axis=1, keepdims=True)
)
"""Optical density of R, G, B for one unit of H and E, each of length 1 (Ruifrok 2001)."""

_NOISE_VARIANCE = 1e-4  # of an optical density: JPEG and camera; makes single colours invertible

_Three = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class SlideStain:
    """Colour and strength of the two stains of one slide, and how its tissue is distributed."""

    haematoxylin: _Three
    """Optical density of R, G, B for one unit of haematoxylin, of length 1."""
    eosin: _Three
    """The same of eosin."""
    maxima: tuple[float, float]
    """99th percentile of the concentrations of haematoxylin and eosin in tissue, above 0."""
    od_mean: _Three
    """Mean optical density of R, G, B in tissue."""
    od_covariance: tuple[_Three, _Three, _Three]
    """Covariance of the densities in tissue."""

    def __post_init__(self) -> None:
        """Check that the vectors span a plane and the maxima can be divided by."""
        values = (*self.haematoxylin, *self.eosin, *self.maxima, *self.od_mean)
        if not np.all(np.isfinite(values)):
            raise ValueError(f"stain vectors, maxima and means must be finite, got {values!r}")
        if not _is_positive_definite(np.array(self.od_covariance)):
            raise ValueError(
                "od_covariance must be a symmetric matrix with eigenvalues above 0, got "
                f"{self.od_covariance!r}"
            )
        if np.linalg.norm(np.cross(self.haematoxylin, self.eosin)) < 0.05:
            raise ValueError(
                "haematoxylin and eosin must be two different vectors, got "
                f"{self.haematoxylin!r} and {self.eosin!r}"
            )
        if min(self.maxima) <= 0.0:
            raise ValueError(f"maxima must be above 0, got {self.maxima!r}")


def tissue_density(pixels_N3: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the optical densities of those pixels that are stained tissue, neither glass nor ink.

    Args:
        pixels_N3: pixels of one slide or tile; any number.
    """
    od_N3 = OD_OF_LEVEL[pixels_N3]
    mean_N = od_N3.mean(axis=1)
    return np.asarray(od_N3[(mean_N > TISSUE_OD_MIN) & (mean_N < _INK_OD)])


def slide_stain(pixels_N3: NDArray[np.uint8]) -> SlideStain | None:
    """Estimate the stains of a slide; None where there is too little tissue to say anything.

    Args:
        pixels_N3: pixels drawn from the slide's tiles, some ten thousand.
    """
    od_N3 = tissue_density(pixels_N3)
    if len(od_N3) < _TISSUE_PIXELS_MIN:
        return None
    vectors_23 = _believable(_rays(od_N3))
    maxima_2 = _maxima(od_N3, vectors_23)
    if maxima_2.min() < 0.05:
        vectors_23 = PUBLISHED_HE
        maxima_2 = np.maximum(_maxima(od_N3, vectors_23), 0.05)
    covariance_33 = np.cov(od_N3.T) + _NOISE_VARIANCE * np.eye(3)
    first, second, third = (_three(row_3) for row_3 in covariance_33)
    return SlideStain(
        haematoxylin=_three(vectors_23[0]),
        eosin=_three(vectors_23[1]),
        maxima=(float(maxima_2[0]), float(maxima_2[1])),
        od_mean=_three(od_N3.mean(axis=0)),
        od_covariance=(first, second, third),
    )


def fit_slide_stains(slides: Iterable[tuple[str, NDArray[np.uint8]]]) -> tuple[SlideStain, ...]:
    """Estimate the stains of slides, those without tissue left out.

    Args:
        slides: name and tiles (N, H, W, 3) of each slide; a few dozen tiles each are enough.

    Raises:
        ValueError: no slide has tissue.
    """
    found = []
    for _, tiles_NHW3 in slides:
        pixels_N3 = tiles_NHW3.reshape(-1, 3)
        step = max(1, len(pixels_N3) // _PIXELS_MAX)
        # Made odd, so that a power of two as the tile's side does not pick the same columns.
        stain = slide_stain(pixels_N3[:: step | 1])
        if stain is not None:
            found.append(stain)
    if not found:
        raise ValueError("stains need at least one slide with tissue, got none")
    return tuple(found)


def _rays(od_N3: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the two unit vectors between which the densities lie, haematoxylin first."""
    _, eigenvectors_33 = np.linalg.eigh(np.cov(od_N3.T))
    plane_32 = eigenvectors_33[:, [2, 1]]
    # The sign of an eigenvector is arbitrary; angles must not wrap where the densities are.
    if plane_32[:, 0] @ od_N3.mean(axis=0) < 0.0:
        plane_32 = -plane_32
    along_N, across_N = (od_N3 @ plane_32).T
    angles_2 = np.percentile(np.arctan2(across_N, along_N), _ANGLE_PERCENTILES)
    rays_23 = np.stack([np.cos(angles_2), np.sin(angles_2)], axis=1) @ plane_32.T
    return np.asarray(rays_23[np.argsort(-rays_23[:, 0])])


def _believable(vectors_23: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vectors if they can be those of H&E, else the published ones."""
    if vectors_23.min() < -0.1:
        return PUBLISHED_HE
    vectors_23 = np.maximum(vectors_23, 0.0)
    vectors_23 = vectors_23 / np.linalg.norm(vectors_23, axis=1, keepdims=True)
    apart = np.arccos(np.clip(vectors_23[0] @ vectors_23[1], -1.0, 1.0))
    from_published_2 = np.arccos(np.clip((vectors_23 * PUBLISHED_HE).sum(axis=1), -1.0, 1.0))
    if apart < _APART_MIN or from_published_2.max() > _FROM_PUBLISHED_MAX:
        return PUBLISHED_HE
    return np.asarray(vectors_23)


def _maxima(od_N3: NDArray[np.float64], vectors_23: NDArray[np.float64]) -> NDArray[np.float64]:
    concentrations_N2 = od_N3 @ np.linalg.pinv(vectors_23)
    return np.asarray(np.percentile(concentrations_N2, _MAXIMUM_PERCENTILE, axis=0))


def _is_positive_definite(matrix_33: NDArray[np.float64]) -> bool:
    return bool(
        np.all(np.isfinite(matrix_33))
        and np.allclose(matrix_33, matrix_33.T)
        and np.linalg.eigvalsh(matrix_33).min() > 0.0
    )


def _three(vector_3: NDArray[np.float64]) -> _Three:
    red, green, blue = vector_3.tolist()
    return red, green, blue
