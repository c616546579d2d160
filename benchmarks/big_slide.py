"""Build an Aperio-style slide of any size out of real tissue pixels, tile by tile.

256-px JPEG tiles at quality 80 with 4:2:0 colour and shared JPEGTables, levels 1, 4 and 16 (or only
the first), 0.5 um/px, half of it tissue in blobs on near-white glass. The tissue is a mosaic of
LC25000 tiles that repeats every 14 slide tiles, so that encoded tiles are used again and memory
does not grow.

Usage: python benchmarks/big_slide.py OUT.svs [--size 20000] [--levels 3] [--tissue FOLDER]
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

__all__ = ["MPP", "TISSUE", "build_slide", "cached_slide", "split_tables"]

MPP = 0.5
QUALITY = 80
TISSUE = Path(__file__).parents[2] / "shared" / "data" / "tiles" / "lc25000"

_TILE_PX = 256
# 16 x 16 tissue tiles of 224 px are 14 x 14 slide tiles of 256 px.
_SOURCE_PX, _SOURCES = 224, 16
_FACTORS = (1, 4, 16)
# Blobs end in steps of one pixel of the coarsest level, so that all levels show the same.
_MASK_PX = 16
_GLASS = 243
_DHT, _DQT, _APP0, _SOS = 0xC4, 0xDB, 0xE0, 0xDA

Image = npt.NDArray[np.uint8]


def cached_slide(
    work: Path, *, size_px: int, n_levels: int = len(_FACTORS), tissue: Path = TISSUE
) -> Path:
    """Return the slide of this size in the folder `work`, built if it is not there yet."""
    path = work / f"slide_{size_px}_{n_levels}.svs"
    if not path.exists():
        partial = path.with_suffix(".partial")
        build_slide(partial, size_px=size_px, n_levels=n_levels, tissue=tissue)
        partial.rename(path)
    return path


def build_slide(path: Path, *, size_px: int, n_levels: int, tissue: Path) -> None:
    """Write a slide of size_px x size_px level-0 pixels.

    Args:
        path: the file to write.
        size_px: width and height of level 0.
        n_levels: 1 to 3 levels, each a quarter as wide as the one before.
        tissue: folder with class folders of LC25000 tiles, 224 px.
    """
    mosaic_HW3 = _mosaic(tissue)
    mask_HW = _blobs(size_px)
    description = (
        f"Aperio Image Library v12.0.15 \r\n{size_px}x{size_px} [0,0 {size_px}x{size_px}] "
        f"(256x256) JPEG/RGB Q={QUALITY}|AppMag = 20|MPP = {MPP:.4f}"
    )
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for factor in _FACTORS[:n_levels]:
            side = size_px // factor
            tables, _ = split_tables(_encode(np.zeros((_TILE_PX, _TILE_PX, 3), np.uint8)))
            tiff.write(
                _level_tiles(mosaic_HW3, mask_HW, side=side, factor=factor),
                shape=(side, side, 3),
                dtype=np.uint8,
                tile=(_TILE_PX, _TILE_PX),
                photometric="ycbcr",
                compression="jpeg",
                subsampling=(2, 2),
                jpegtables=tables,
                subfiletype=int(factor > 1),
                description=description,
                resolution=(1e4 / (MPP * factor),) * 2,
                resolutionunit="CENTIMETER",
                software=False,
                metadata=None,
            )


def split_tables(stream: bytes) -> tuple[bytes, bytes]:
    """Divide a JPEG stream into its shared tables and the abbreviated stream without them.

    Returns:
        What a TIFF keeps as JPEGTables, and what it keeps as a tile.
    """
    tables, rest = [stream[:2]], [stream[:2]]
    start = 2
    while stream[start + 1] != _SOS:
        stop = start + 2 + int.from_bytes(stream[start + 2 : start + 4], "big")
        if stream[start + 1] in (_DQT, _DHT):
            tables.append(stream[start:stop])
        elif stream[start + 1] != _APP0:
            rest.append(stream[start:stop])
        start = stop
    return b"".join(tables) + b"\xff\xd9", b"".join(rest) + stream[start:]


def _level_tiles(
    mosaic_HW3: Image, mask_HW: npt.NDArray[np.bool_], *, side: int, factor: int
) -> Iterator[bytes]:
    """Yield the encoded tiles of one level, row by row."""
    level_HW3 = cv2.resize(
        mosaic_HW3, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA
    )
    period = len(level_HW3)
    steps = _MASK_PX // factor
    n_cells = _TILE_PX // steps
    n_tiles = -(-side // _TILE_PX)
    padded_HW = np.zeros((n_tiles * n_cells,) * 2, bool)
    padded_HW[: len(mask_HW), : len(mask_HW)] = mask_HW
    cache: dict[tuple[int, int], bytes] = {}
    offsets = np.arange(_TILE_PX)
    for row in range(n_tiles):
        for column in range(n_tiles):
            cells_HW = padded_HW[
                row * n_cells : (row + 1) * n_cells, column * n_cells : (column + 1) * n_cells
            ]
            y, x = row * _TILE_PX % period, column * _TILE_PX % period
            key = (y, x) if cells_HW.any() else (-1, -1)
            is_uniform = cells_HW.all() or not cells_HW.any()
            if is_uniform and key in cache:
                yield cache[key]
                continue
            tissue_HW3 = level_HW3[np.ix_((y + offsets) % period, (x + offsets) % period)]
            is_tissue_HW = np.kron(cells_HW, np.ones((steps, steps), bool))
            tile_HW3 = np.where(is_tissue_HW[:, :, None], tissue_HW3, np.uint8(_GLASS))
            _, stream = split_tables(_encode(tile_HW3))
            if is_uniform:
                cache[key] = stream
            yield stream


def _encode(tile_HW3: Image) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(tile_HW3, level=QUALITY, subsampling="420"))


def _mosaic(tissue: Path) -> Image:
    """Join tiles of all classes in turn to (3584, 3584, 3)."""
    folders = [sorted(folder.glob("*.jp*g")) for folder in sorted(tissue.iterdir())]
    paths = [path for group in zip(*filter(None, folders), strict=False) for path in group]
    needed = _SOURCES * _SOURCES
    if len(paths) < needed:
        raise SystemExit(f"--tissue {tissue} must hold {needed} tissue tiles, got {len(paths)}.")
    tiles = [
        cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        for path in paths[:: len(paths) // needed][:needed]
    ]
    grid = np.asarray(tiles, np.uint8).reshape(_SOURCES, _SOURCES, _SOURCE_PX, _SOURCE_PX, 3)
    return np.ascontiguousarray(grid.swapaxes(1, 2).reshape((_SOURCES * _SOURCE_PX,) * 2 + (3,)))


def _blobs(size_px: int) -> npt.NDArray[np.bool_]:
    """Return where there is tissue, one value for 16 x 16 level-0 pixels: half of all."""
    field_HW = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    smooth_HW = cv2.GaussianBlur(field_HW, (0, 0), 7)
    side = size_px // _MASK_PX
    wide_HW = cv2.resize(smooth_HW, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(wide_HW > np.median(wide_HW))


def main() -> None:
    """Build one slide."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--levels", type=int, default=len(_FACTORS), choices=(1, 2, 3))
    parser.add_argument("--tissue", type=Path, default=TISSUE)
    given = parser.parse_args()
    build_slide(given.out, size_px=given.size, n_levels=given.levels, tissue=given.tissue)
    print(f"{given.out}: {given.size} x {given.size} px, {given.out.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
