"""Nuclei as small patches of stain, drawn once per slide and stamped many times.

A nucleus is an ellipse with a wavy outline, a membrane, clumped chromatin and up to two nucleoli; a
`NucleusKind` holds the ranges. All lengths are pixels of 0.5 um, all densities are stain
concentrations as in `medsimclr.demo.tissue`.

Shape legend: K patches of a bank, S patch side, N nuclei, HW canvas, 2 stains
(haematoxylin, eosin).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

__all__ = [
    "EPITHELIAL",
    "LYMPHOCYTE",
    "MARGIN_PX",
    "SPINDLE",
    "TUMOR",
    "NucleusKind",
    "nucleus_bank",
    "stamp_nuclei",
]

# No patch is larger; tissue is drawn this much wider on every side.
MARGIN_PX = 48
_N_ANGLES = 16
_N_VARIANTS = 8

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class NucleusKind:
    """The ranges one kind of nucleus is drawn from; pairs are (low, high) of a uniform draw."""

    long_px: tuple[float, float]
    """Long half axis."""
    aspect: tuple[float, float]
    """Short over long half axis."""
    waviness: float
    """Standard deviation of the second outline harmonic over the radius; of the n-th, 2 / n."""
    density: tuple[float, float]
    """Haematoxylin concentration inside the membrane."""
    clumping: float
    """Standard deviation of the chromatin, relative to the density."""
    membrane: float
    """Haematoxylin that the membrane adds."""
    nucleoli: float
    """Chance of each of two nucleoli."""
    dark_fraction: float
    """Share of hyperchromatic nuclei, dense and without structure."""


# Half axes after common histology: resting epithelial nuclei 6-8 um long, carcinoma nuclei 9-17 um.
EPITHELIAL = NucleusKind(
    long_px=(6.5, 8.0), aspect=(0.68, 0.82), waviness=0.02, density=(0.95, 1.15), clumping=0.16,
    membrane=0.15, nucleoli=0.1, dark_fraction=0.0,
)  # fmt: skip
SPINDLE = NucleusKind(
    long_px=(9.0, 14.0), aspect=(0.22, 0.34), waviness=0.04, density=(0.95, 1.25), clumping=0.12,
    membrane=0.05, nucleoli=0.0, dark_fraction=0.0,
)  # fmt: skip
LYMPHOCYTE = NucleusKind(
    long_px=(5.0, 6.2), aspect=(0.88, 1.0), waviness=0.02, density=(1.25, 1.5), clumping=0.2,
    membrane=0.05, nucleoli=0.0, dark_fraction=0.0,
)  # fmt: skip
TUMOR = NucleusKind(
    long_px=(8.0, 15.5), aspect=(0.55, 0.92), waviness=0.07, density=(0.34, 0.70), clumping=0.34,
    membrane=0.36, nucleoli=0.55, dark_fraction=0.10,
)  # fmt: skip


def nucleus_bank(kind: NucleusKind, rng: np.random.Generator) -> tuple[_Floats, _Floats]:
    """Draw a bank of nuclei, `_N_VARIANTS` at each of `_N_ANGLES` orientations.

    Returns:
        opacity_K1SS in [0, 1] and density_K2SS (haematoxylin, eosin); patch k has its long axis at
        angle pi * (k // _N_VARIANTS) / _N_ANGLES, clockwise from x as rows point down.
    """
    n_patches = _N_ANGLES * _N_VARIANTS
    patch_px = min(MARGIN_PX, 2 * int(1.25 * kind.long_px[1] + 2))

    def draw(low: float, high: float) -> _Floats:
        return rng.uniform(low, high, (n_patches, 1, 1)).astype(np.float32)

    axis = np.arange(patch_px, dtype=np.float32) - (patch_px - 1) / 2
    x_SS, y_SS = np.meshgrid(axis, axis)
    radius_SS = np.hypot(x_SS, y_SS)
    tilt_K = np.repeat(np.arange(_N_ANGLES), _N_VARIANTS) * np.float32(np.pi / _N_ANGLES)
    theta_KSS = np.arctan2(y_SS, x_SS)[None] - tilt_K[:, None, None].astype(np.float32)

    long_K = draw(*kind.long_px)
    short_K = long_K * draw(*kind.aspect)
    edge_KSS = long_K * short_K / np.hypot(short_K * np.cos(theta_KSS), long_K * np.sin(theta_KSS))
    for harmonic in (2, 3, 4, 5):
        amplitude_K = (
            2 * kind.waviness / harmonic * rng.standard_normal((n_patches, 1, 1), np.float32)
        )
        edge_KSS *= 1 + amplitude_K * np.cos(harmonic * theta_KSS + draw(0, 2 * np.pi))
    inside_KSS = np.minimum(edge_KSS, patch_px / 2 - 2) - radius_SS
    opacity_KSS = np.clip(inside_KSS / 1.6 + 0.5, 0, 1)

    noise = rng.standard_normal((n_patches * patch_px, patch_px), np.float32)
    noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.5), np.float32)
    noise_KSS = (noise / noise.std()).reshape(n_patches, patch_px, patch_px)
    is_dark_K = draw(0, 1) < kind.dark_fraction
    structure_K = np.where(is_dark_K, 0.3, 1.0).astype(np.float32)
    base_K = np.where(is_dark_K, draw(1.15, 1.5), draw(*kind.density))
    density_KSS = base_K * (1 + kind.clumping * structure_K * noise_KSS)
    density_KSS += kind.membrane * structure_K * np.exp(-(((inside_KSS - 1.3) / 1.1) ** 2))
    for _ in range(2):
        away_K, angle_K = draw(0, 0.45) * short_K, draw(0, 2 * np.pi)
        spot_KSS = (x_SS - away_K * np.cos(angle_K)) ** 2 + (y_SS - away_K * np.sin(angle_K)) ** 2
        strength_K = 0.8 * structure_K * (draw(0, 1) < kind.nucleoli)
        density_KSS += strength_K * np.exp(-spot_KSS / draw(2.5, 7.0))

    eosin_KSS = np.full_like(density_KSS, 0.32)
    density_K2SS = np.stack([np.maximum(density_KSS, 0.1), eosin_KSS], axis=1)
    return opacity_KSS[:, None].astype(np.float32), density_K2SS.astype(np.float32)


def stamp_nuclei(
    canvas_2HW: _Floats,
    xy_N2: npt.NDArray[np.int64],
    angle_N: npt.NDArray[np.floating],
    *,
    kind: NucleusKind,
    rng: np.random.Generator,
) -> None:
    """Stamp nuclei of one kind onto the canvas, in place; centres too near its edge are left out.

    Args:
        canvas_2HW: stain concentrations.
        xy_N2: centres, canvas pixels.
        angle_N: direction of each long axis, radians.
        kind: what to draw.
        rng: chooses variants.
    """
    opacity_K1SS, density_K2SS = nucleus_bank(kind, rng)
    # Slightly translucent, so that overlapping nuclei show through as they do in a thick section.
    opacity_K1SS *= 0.92
    keep_K1SS, paint_K2SS = 1 - opacity_K1SS, opacity_K1SS * density_K2SS
    bin_N = np.round(angle_N * _N_ANGLES / np.pi).astype(np.int64) % _N_ANGLES
    patch_N = bin_N * _N_VARIANTS + rng.integers(_N_VARIANTS, size=len(bin_N))
    patch_px = density_K2SS.shape[-1]
    corner_N2 = xy_N2 - patch_px // 2
    limit_2 = np.array(canvas_2HW.shape[:0:-1]) - patch_px
    fits_N = ((corner_N2 >= 0) & (corner_N2 <= limit_2)).all(axis=1)
    for (x, y), k in zip(corner_N2[fits_N].tolist(), patch_N[fits_N].tolist(), strict=True):
        under = canvas_2HW[:, y : y + patch_px, x : x + patch_px]
        under *= keep_K1SS[k]
        under += paint_K2SS[k]
