"""Synthetic tissue that looks like haematoxylin and eosin, at 0.5 um per pixel.

Two kinds lie side by side. Normal: round glands with a lumen and one ring of small regular nuclei,
in fibrous stroma. Tumour: crowded, irregular, large and uneven nuclei in solid sheets with thin
septa and few distorted lumina. It is a toy for demonstrations and tests: it teaches nothing about
disease. The kinds have about the same share of nuclei, haematoxylin and white space (tumour nuclei
are larger but paler, as vesicular nuclei are); `medsimclr.demo.levelling` removes what difference
in colour is left, so that a model must look at form.

Tissue is drawn as concentrations of the two stains; `medsimclr.demo.stain` turns them to RGB. The
numbers in the drawing were chosen by eye against real slides.

Shape legend: HW pixels of level 0, 2 stains (haematoxylin, eosin), 3 RGB, N points as xy, G
glands, T angles of an outline.
"""

import cv2
import numpy as np
import numpy.typing as npt

from medsimclr.demo.noise import smooth_field
from medsimclr.demo.nuclei import (
    EPITHELIAL,
    LYMPHOCYTE,
    MARGIN_PX,
    SPINDLE,
    TUMOR,
    stamp_nuclei,
)

__all__ = ["draw_tissue"]

_Floats = npt.NDArray[np.float32]
_Bools = npt.NDArray[np.bool_]
_Points = npt.NDArray[np.int64]

_GLAND_PITCH_PX = 166.0
_TUMOR_PITCH_PX = 31.0
_STROMA_PITCH_PX = 34.0
# Height of the glandular epithelium, basal membrane to lumen.
_EPITHELIUM_PX = 37.0


def _scatter(
    shape_hw: tuple[int, int], pitch_px: float, rng: np.random.Generator, *, jitter: float = 0.36
) -> _Points:
    """Jitter a hexagonal grid: xy_N2, evenly crowded points without order to the eye."""
    rows = np.arange(0, shape_hw[0], pitch_px * 0.87)
    columns = np.arange(0.0, shape_hw[1], pitch_px)
    x_RC, y_RC = np.meshgrid(columns, rows)
    x_RC[1::2] += pitch_px / 2
    xy_N2 = np.stack([x_RC.ravel(), y_RC.ravel()], axis=1)
    xy_N2 += rng.uniform(-jitter, jitter, xy_N2.shape) * pitch_px
    return np.clip(np.round(xy_N2), 0, np.array(shape_hw[::-1]) - 1).astype(np.int64)


def _where(xy_N2: _Points, mask_HW: _Bools) -> _Points:
    """Keep the points that lie in the mask."""
    return xy_N2[mask_HW[xy_N2[:, 1], xy_N2[:, 0]]]


def _stroma(shape_hw: tuple[int, int], rng: np.random.Generator) -> tuple[_Floats, _Floats]:
    """Draw wavy collagen: eosin_HW and the direction angle_HW of its fibres.

    Fibres are the level lines of a smooth potential, looked up in one-dimensional noise.
    """
    # The slope keeps the field from closing into rings, which collagen does not do.
    heading = rng.uniform(0, 2 * np.pi)
    x_W = np.arange(shape_hw[1], dtype=np.float32) * np.float32(np.cos(heading) * 0.6)
    y_H = np.arange(shape_hw[0], dtype=np.float32) * np.float32(np.sin(heading) * 0.6)
    potential = x_W[None] + y_H[:, None] + 85 * smooth_field(shape_hw, 330, rng)
    potential += 20 * smooth_field(shape_hw, 80, rng) + 3.2 * smooth_field(shape_hw, 16, rng)
    profile = cv2.GaussianBlur(rng.standard_normal((1, 8192), np.float32), (0, 0), 1.3)[0]
    profile = profile / profile.std()
    fibre = profile[(potential * 1.3).astype(np.int32) & 8191]
    slow = smooth_field(shape_hw, 90, rng)
    eosin = 0.41 + 0.06 * fibre * (1 + 0.6 * slow) + 0.06 * slow
    # Clefts between bundles, where the section shows glass.
    eosin *= 1 - 0.7 * np.clip((-fibre - 1.1) * 1.2 - 0.8 * slow, 0, 1)
    angle = np.arctan2(cv2.Scharr(potential, -1, 0, 1), cv2.Scharr(potential, -1, 1, 0))
    return np.maximum(eosin, 0.03), (angle + np.pi / 2).astype(np.float32)


def _glands(
    normal_HW: _Bools, rng: np.random.Generator
) -> tuple[_Bools, _Points, npt.NDArray[np.float64]]:
    """Place glands: gland_HW, and for each nucleus of their rings xy_N2 and long-axis angle_N."""
    room_HW = cv2.distanceTransform(normal_HW.astype(np.uint8), cv2.DIST_L2, 3)
    centre_G2 = _scatter(normal_HW.shape, _GLAND_PITCH_PX, rng, jitter=0.2)
    apart_GG = np.hypot(*(centre_G2[:, None] - centre_G2[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart_GG, np.inf)
    gland_HW = np.zeros(normal_HW.shape, np.uint8)
    fibrous_HW = smooth_field(normal_HW.shape, 360, rng)
    theta_T = np.linspace(0, 2 * np.pi, 65)
    xys, angles = [np.zeros((0, 2))], [np.zeros(0)]
    for centre_2, apart in zip(centre_G2, apart_GG.min(axis=1), strict=True):
        radius_px = min(rng.uniform(54, 84), 0.5 * apart - 4)
        is_fibrous = fibrous_HW[centre_2[1], centre_2[0]] > 0.75
        if is_fibrous or radius_px < 42 or room_HW[centre_2[1], centre_2[0]] < 0.8 * radius_px:
            continue
        radius_T = np.full(65, radius_px)
        for harmonic, spread in ((2, 0.09), (3, 0.04), (4, 0.02)):
            wave_T = np.cos(harmonic * theta_T + rng.uniform(0, 2 * np.pi))
            radius_T *= 1 + spread * rng.standard_normal() * wave_T
        outline_T2 = np.stack([np.cos(theta_T), np.sin(theta_T)], axis=1) * radius_T[:, None]
        cv2.fillPoly(gland_HW, [np.round(centre_2 + outline_T2).astype(np.int32)], 1)
        n_nuclei = int(2 * np.pi * radius_px / 14)
        theta_N = (np.arange(n_nuclei) + rng.uniform(-0.2, 0.2, n_nuclei)) * 2 * np.pi / n_nuclei
        from_centre_N = np.interp(theta_N % (2 * np.pi), theta_T, radius_T)
        from_centre_N -= rng.normal(11.5, 1.6, n_nuclei)
        direction_N2 = np.stack([np.cos(theta_N), np.sin(theta_N)], axis=1)
        xys.append(centre_2 + from_centre_N[:, None] * direction_N2)
        angles.append(theta_N + rng.normal(0, 0.15, n_nuclei))
    xy_N2 = np.round(np.concatenate(xys)).astype(np.int64)
    fits_N = ((xy_N2 >= 0) & (xy_N2 < np.array(normal_HW.shape[::-1]))).all(axis=1)
    return gland_HW.astype(bool), xy_N2[fits_N], np.concatenate(angles)[fits_N]


def _cells(
    shape_hw: tuple[int, int], xy_N2: _Points, rng: np.random.Generator
) -> tuple[_Floats, _Floats]:
    """Give every pixel to its nearest nucleus: tone_HW, N(0, 1) of its cell, and border_HW."""
    far_HW = np.ones(shape_hw, np.uint8)
    far_HW[xy_N2[:, 1], xy_N2[:, 0]] = 0
    _, cell_HW = cv2.distanceTransformWithLabels(
        far_HW, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    tone_HW = rng.standard_normal(len(xy_N2) + 2).astype(np.float32)[cell_HW]
    border_HW = np.zeros(shape_hw, np.bool_)
    border_HW[1:] = cell_HW[1:] != cell_HW[:-1]
    border_HW[:, 1:] |= cell_HW[:, 1:] != cell_HW[:, :-1]
    return tone_HW, _soft(border_HW, 0.9)


def _paint(canvas_2HW: _Floats, opacity_HW: _Floats, colour: tuple[_Floats | float, ...]) -> None:
    """Blend one concentration per stain into the canvas, in place."""
    for plane_HW, value in zip(canvas_2HW, colour, strict=True):
        plane_HW += opacity_HW * (value - plane_HW)


def _soft(mask_HW: _Bools, blur_px: float = 1.0) -> _Floats:
    """Blur a mask into an opacity in [0, 1]."""
    # In bytes, which blur several times faster; 1/255 of a stain cannot be seen.
    soft_HW = cv2.GaussianBlur(mask_HW.astype(np.uint8) * np.uint8(255), (0, 0), blur_px)
    return np.multiply(soft_HW, np.float32(1 / 255), dtype=np.float32)


def _disks(
    shape_hw: tuple[int, int], xy_N2: _Points, radius_N: npt.NDArray[np.floating]
) -> _Floats:
    """Draw filled disks with soft edges as opacity_HW."""
    mask_HW = np.zeros(shape_hw, np.uint8)
    for centre_xy, radius_px in zip(xy_N2.tolist(), radius_N.tolist(), strict=True):
        cv2.circle(mask_HW, centre_xy, round(radius_px), 1, -1)
    return _soft(mask_HW.astype(bool))


def _paint_glands(
    canvas_2HW: _Floats, gland_HW: _Bools, tone_HW: _Floats, border_HW: _Floats
) -> None:
    """Paint glands, pink at the base, with mucin towards a lumen scalloped by its cells."""
    depth_HW = cv2.distanceTransform(gland_HW.astype(np.uint8), cv2.DIST_L2, 5)
    mucin_HW = np.clip((depth_HW - 18 - 3 * tone_HW) / 9, 0, 1)
    eosin_HW = 0.46 - 0.24 * mucin_HW + 0.05 * tone_HW + 0.28 * border_HW
    _paint(canvas_2HW, _soft(gland_HW), (0.15 + 0.02 * tone_HW, eosin_HW))
    lumen_HW = depth_HW > _EPITHELIUM_PX + 2.5 * tone_HW
    _paint(canvas_2HW, _soft(lumen_HW, 1.3), (0.01, 0.02))


def _sheets(tumor_HW: _Bools, rng: np.random.Generator) -> tuple[_Bools, _Bools]:
    """Lay out the tumour: sheet_HW between thin septa, and gap_HW, its clefts and lumina."""
    shape_hw = tumor_HW.shape
    from_septum_HW = np.abs(
        smooth_field(shape_hw, 150, rng) + 0.15 * smooth_field(shape_hw, 24, rng)
    )
    hole_HW = smooth_field(shape_hw, 34, rng) + 0.25 * smooth_field(shape_hw, 12, rng) > 1.6
    sheet_HW = tumor_HW & (from_septum_HW > 0.16)
    return sheet_HW, sheet_HW & (hole_HW | (from_septum_HW < 0.21))


def _paint_sheets(
    canvas_2HW: _Floats,
    layout: tuple[_Bools, _Bools],
    tumor_N2: _Points,
    tone_HW: _Floats,
    border_HW: _Floats,
    rng: np.random.Generator,
) -> None:
    """Paint tumour cytoplasm, uneven from cell to cell, with vacuoles and gaps."""
    sheet_HW, gap_HW = layout
    eosin_HW = 0.38 + 0.08 * tone_HW + 0.10 * border_HW
    _paint(canvas_2HW, _soft(sheet_HW), (0.11 + 0.03 * tone_HW, eosin_HW))
    vacuole_N2 = tumor_N2[rng.random(len(tumor_N2)) < 0.16]
    vacuole_N2 = vacuole_N2 + rng.integers(-13, 14, vacuole_N2.shape)
    disk_HW = _disks(sheet_HW.shape, vacuole_N2, rng.uniform(5, 11, len(vacuole_N2)))
    _paint(canvas_2HW, disk_HW * sheet_HW, (0.06, 0.10))
    _paint(canvas_2HW, _soft(gap_HW, 1.5), (0.01, 0.03))


def _fill_stroma(
    canvas_2HW: _Floats, stroma_HW: _Bools, fibre_angle_HW: _Floats, rng: np.random.Generator
) -> None:
    """Put red cells, spindle nuclei along the fibres and lymphocytes into the stroma."""
    shape_hw = stroma_HW.shape
    blood_HW = stroma_HW & (smooth_field(shape_hw, 60, rng) > 2.3)
    blood_N2 = _where(_scatter(shape_hw, 12, rng), blood_HW)
    _paint(canvas_2HW, _disks(shape_hw, blood_N2, np.full(len(blood_N2), 6.0)), (0.02, 0.85))

    spindle_N2 = _where(_scatter(shape_hw, _STROMA_PITCH_PX, rng), stroma_HW)
    angle_N = fibre_angle_HW[spindle_N2[:, 1], spindle_N2[:, 0]]
    stamp_nuclei(canvas_2HW, spindle_N2, angle_N, kind=SPINDLE, rng=rng)

    # Lymphocytes gather in places.
    crowd_HW = smooth_field(shape_hw, 110, rng)
    lymphocyte_N2 = _where(_scatter(shape_hw, 17, rng), stroma_HW)
    crowd_N = crowd_HW[lymphocyte_N2[:, 1], lymphocyte_N2[:, 0]]
    lymphocyte_N2 = lymphocyte_N2[rng.random(len(crowd_N)) < 0.14 + 0.25 * crowd_N]
    any_angle_N = rng.uniform(0, np.pi, len(lymphocyte_N2))
    stamp_nuclei(canvas_2HW, lymphocyte_N2, any_angle_N, kind=LYMPHOCYTE, rng=rng)


def _draw(tumor_HW: _Bools, rng: np.random.Generator) -> _Floats:
    """Draw both kinds without an outline; see `draw_tissue`."""
    shape_hw = tumor_HW.shape
    stroma_HW, fibre_angle_HW = _stroma(shape_hw, rng)
    canvas_2HW = np.stack([0.07 + 0.10 * stroma_HW, stroma_HW])
    gland_HW, ring_N2, ring_angle_N = _glands(~tumor_HW, rng)
    sheet_HW, gap_HW = _sheets(tumor_HW, rng)
    tumor_N2 = _where(_scatter(shape_hw, _TUMOR_PITCH_PX, rng), sheet_HW & ~gap_HW)
    tumor_N2 = tumor_N2[rng.random(len(tumor_N2)) < 0.93]
    tumor_angle_N = rng.uniform(0, np.pi, len(tumor_N2))

    tone_HW, border_HW = _cells(shape_hw, np.concatenate([ring_N2, tumor_N2]), rng)
    _paint_sheets(canvas_2HW, (sheet_HW, gap_HW), tumor_N2, tone_HW, border_HW, rng)
    _paint_glands(canvas_2HW, gland_HW, tone_HW, border_HW)
    _fill_stroma(canvas_2HW, ~gland_HW & ~sheet_HW, fibre_angle_HW, rng)
    stamp_nuclei(canvas_2HW, tumor_N2, tumor_angle_N, kind=TUMOR, rng=rng)
    stamp_nuclei(canvas_2HW, ring_N2, ring_angle_N, kind=EPITHELIAL, rng=rng)
    # Grain of the section itself, finer than any structure drawn.
    canvas_2HW *= 1 + 0.09 * smooth_field(shape_hw, 3, rng) + 0.06 * smooth_field(shape_hw, 5, rng)
    return canvas_2HW


def draw_tissue(tumor_HW: _Bools, tissue_HW: _Bools, rng: np.random.Generator) -> _Floats:
    """Draw tissue of both kinds as stain concentrations.

    Args:
        tumor_HW: True where the tissue is tumour, False where it is normal.
        tissue_HW: True where there is tissue at all; the rest stays zero.
        rng: source of all randomness.

    Returns:
        canvas_2HW, concentrations of haematoxylin and eosin, zero or more.
    """
    # Nuclei are not drawn across the edge of the canvas, so draw on a larger one.
    wide_HW = np.pad(tumor_HW, MARGIN_PX, mode="edge")
    inner = slice(MARGIN_PX, -MARGIN_PX)
    canvas_2HW = _draw(wide_HW, rng)[:, inner, inner].copy()
    edge_HW = _soft(tissue_HW, 1.5)
    for plane_HW in canvas_2HW:
        thickness_HW = 1 + 0.10 * smooth_field(tumor_HW.shape, 240, rng)
        plane_HW *= np.clip(thickness_HW, 0.6, 1.5) * edge_HW
        # The optics; before the kinds are levelled, as a blur takes more from small nuclei.
        cv2.GaussianBlur(plane_HW, (0, 0), 0.65, dst=plane_HW)
    return np.maximum(canvas_2HW, 0)
