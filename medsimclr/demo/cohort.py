"""A small synthetic cohort on disk: slides, annotations and the slide table.

Layout of the output folder:
    slides/<slide>.tif           pyramidal tiled JPEG TIFF, levels 1, 4 and 16, 0.5 um per pixel
    annotations/<slide>.geojson  QuPath-style polygons in level-0 pixels, named "tumor" and "normal"
    slides.csv                   slide, patient, centre

Patients alternate between centres "A" and "B" and differ in the strength of both stains; every
slide holds both kinds of tissue, so neither centre nor patient tells the kind.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

from medsimclr.demo.levelling import level_kinds
from medsimclr.demo.noise import smooth_field
from medsimclr.demo.regions import region_features
from medsimclr.demo.stain import CENTRES, stain_to_rgb
from medsimclr.demo.tissue import draw_tissue
from medsimclr.errors import ConfigError, OutputError

__all__ = ["Cohort", "write_cohort"]

_MPP = 0.5
_TIFF_TILE_PX = 256
_LEVEL_FACTORS = (1, 4, 16)
_JPEG_QUALITY = 90
_MIN_SIDE_PX = 512
# Standard deviation of the log of each patient's stain strengths; chosen here to be wide enough
# that the difference between patients hides what difference in colour the kinds have left.
_STRENGTH_SPREAD = 0.13

_Bools = npt.NDArray[np.bool_]
_Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Where `write_cohort` put things."""

    slides_dir: Path
    annotations_dir: Path
    slides_csv: Path


def write_cohort(out: Path, *, n_slides: int, side_px: int, n_patients: int, seed: int) -> Cohort:
    """Write a synthetic cohort; the same arguments give the same bytes.

    Args:
        out: folder to write to; made where missing.
        n_slides: number of slides, shared out evenly among the patients.
        side_px: width and height of each slide at 0.5 um per pixel, 512 or more.
        n_patients: number of patients, 2 or more; they alternate between the two centres.
        seed: seed of all randomness.

    Raises:
        ConfigError: a number is out of range.
        OutputError: a file cannot be written.
    """
    _check(n_slides=n_slides, side_px=side_px, n_patients=n_patients, seed=seed)
    cohort = Cohort(
        slides_dir=out / "slides",
        annotations_dir=out / "annotations",
        slides_csv=out / "slides.csv",
    )
    rows = []
    try:
        cohort.slides_dir.mkdir(parents=True, exist_ok=True)
        cohort.annotations_dir.mkdir(parents=True, exist_ok=True)
        for i in range(n_slides):
            patient = i * n_patients // n_slides
            centre = "AB"[patient % 2]
            slide = f"demo_{i:03d}"
            rgb_HW3, tumor_HW, tissue_HW = _draw_slide(side_px, centre, seed, i, patient)
            _write_pyramid(cohort.slides_dir / f"{slide}.tif", rgb_HW3)
            features = region_features(tumor_HW & tissue_HW, "tumor")
            features += region_features(~tumor_HW & tissue_HW, "normal")
            text = json.dumps({"type": "FeatureCollection", "features": features})
            path = cohort.annotations_dir / f"{slide}.geojson"
            path.write_text(text + "\n", encoding="utf-8")
            rows.append((slide, f"patient_{patient:02d}", centre))
        with cohort.slides_csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("slide", "patient", "centre"))
            writer.writerows(rows)
    except OSError as error:
        raise OutputError(
            f"cannot write the demo cohort to {str(out)!r}: {error}. "
            "Give another folder or make room."
        ) from error
    return cohort


def _check(*, n_slides: int, side_px: int, n_patients: int, seed: int) -> None:
    """Refuse numbers that no cohort can have."""
    if n_patients < 2:
        raise ConfigError(
            f"n_patients must be at least 2, one for each centre, got {n_patients!r}."
        )
    if n_slides < n_patients:
        raise ConfigError(
            f"n_slides must be at least n_patients ({n_patients}), got {n_slides!r}: "
            "every patient needs a slide."
        )
    if side_px < _MIN_SIDE_PX:
        raise ConfigError(f"side_px must be at least {_MIN_SIDE_PX}, got {side_px!r}.")
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, got {seed!r}.")


def _draw_slide(
    side_px: int, centre: str, seed: int, slide_index: int, patient_index: int
) -> tuple[_Bytes, _Bools, _Bools]:
    """Draw one slide: rgb_HW3, tumor_HW and tissue_HW."""
    # Spawn keys keep the draws of patients and slides apart, whatever their numbers.
    of_patient = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, patient_index)))
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1, slide_index)))
    haematoxylin, eosin = np.exp(of_patient.normal(0, _STRENGTH_SPREAD, 2))
    tissue_HW = _tissue_outline(side_px, rng)
    tumor_HW = _tumor_region(tissue_HW, rng)
    canvas_2HW = draw_tissue(tumor_HW, tissue_HW, rng)
    rgb_HW3 = stain_to_rgb(
        level_kinds(canvas_2HW, tumor_HW, tissue_HW),
        appearance=CENTRES[centre],
        strength=(float(haematoxylin), float(eosin)),
        rng=rng,
    )
    return rgb_HW3, tumor_HW, tissue_HW


def _tissue_outline(side_px: int, rng: np.random.Generator) -> _Bools:
    """Draw an irregular piece of tissue that nearly fills the square: tissue_HW."""
    shape_hw = (side_px, side_px)
    axis = np.linspace(-1, 1, side_px, dtype=np.float32)
    # A superellipse of exponent 3, so that little of the slide is wasted on glass.
    cubed_HW = np.abs(axis**3)[None] + np.abs(axis**3)[:, None]
    limit_HW = 0.82 + 0.065 * smooth_field(shape_hw, side_px / 3, rng)
    limit_HW += (
        16 * smooth_field(shape_hw, 120, rng) + 3 * smooth_field(shape_hw, 20, rng)
    ) / side_px
    limit_HW = np.minimum(limit_HW, 0.97)
    tissue_HW: _Bools = cubed_HW < limit_HW * limit_HW * limit_HW
    return tissue_HW


def _tumor_region(tissue_HW: _Bools, rng: np.random.Generator) -> _Bools:
    """Choose 35 to 60 % of the tissue as tumour, with smooth irregular borders: tumor_HW."""
    field_HW = smooth_field(tissue_HW.shape, tissue_HW.shape[0] / 2.2, rng)
    cut = np.quantile(field_HW[tissue_HW][::16], 1 - rng.uniform(0.35, 0.60))
    # The fine term roughens the border by some nuclei; alone it makes no islands.
    field_HW += 0.05 * smooth_field(tissue_HW.shape, 70, rng)
    return field_HW > cut


def _write_pyramid(path: Path, rgb_HW3: _Bytes) -> None:
    """Write a tiled pyramidal TIFF that openslide reads as generic-tiff with its mpp."""
    with tifffile.TiffWriter(path) as tiff:
        for factor in _LEVEL_FACTORS:
            size_xy = (rgb_HW3.shape[1] // factor, rgb_HW3.shape[0] // factor)
            pixels_HW3 = rgb_HW3
            if factor > 1:
                smaller_HW3 = cv2.resize(rgb_HW3, size_xy, interpolation=cv2.INTER_AREA)
                pixels_HW3 = np.asarray(smaller_HW3, np.uint8)
            per_cm = 1e4 / (_MPP * factor)
            tiff.write(
                pixels_HW3,
                tile=(_TIFF_TILE_PX, _TIFF_TILE_PX),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": _JPEG_QUALITY},
                resolution=(per_cm, per_cm),
                resolutionunit="CENTIMETER",
                subfiletype=0 if factor == 1 else 1,
                metadata=None,
                software=False,
            )
