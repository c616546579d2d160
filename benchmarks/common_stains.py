"""Measure the stains that policies draw from until they are fitted, and print them as a module.

Twenty-three patients of BreakHis at 100X, the lung and the colon tiles of LC25000, and three slides
(CMU-1 small region, a frozen section of TCGA, a flat H&E scan): 60 tiles of 224 px each, or as many
as there are. Patients whose estimate is not believed are left out.

Usage: python benchmarks/common_stains.py DATA > new.py
       and new.py becomes medsimclr/augment/common_slides.py
"""

import argparse
import csv
import inspect
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from medsimclr.augment import common_slides
from medsimclr.augment.macenko import PUBLISHED_HE, SlideStain, fit_slide_stains
from medsimclr.augment.stain_statistics import fit_templates

_TILES = 60
_TILE_PX = 224
_SLIDES = ("cmu_small_region.svs", "tcga-cr-7395-01a-01-ts1.svs", "flat_he.jpeg")


def slides_of(data: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield name and tiles of each patient, organ and slide."""
    for folder, column in (("images/breakhis100x", "patient"), ("tiles/lc25000", "organ")):
        paths: dict[str, list[Path]] = defaultdict(list)
        with (data / folder / "labels.csv").open() as table:
            for row in csv.DictReader(table):
                paths[row[column]].append(data / folder / row["image"])
        for name, of_slide in paths.items():
            chosen = of_slide[:: max(1, len(of_slide) // _TILES)]
            tiles = [np.asarray(Image.open(path).convert("RGB")) for path in chosen]
            yield name, np.stack([tile_HW3[:_TILE_PX, :_TILE_PX] for tile_HW3 in tiles])
    for name in _SLIDES:
        image_HW3 = _whole(data / "slides" / name)
        rows, columns = (side // _TILE_PX for side in image_HW3.shape[:2])
        cut_HW3 = image_HW3[: rows * _TILE_PX, : columns * _TILE_PX]
        grid = cut_HW3.reshape(rows, _TILE_PX, columns, _TILE_PX, 3).swapaxes(1, 2)
        tiles_NHW3 = grid.reshape(-1, _TILE_PX, _TILE_PX, 3)
        yield name, tiles_NHW3[:: max(1, len(tiles_NHW3) // _TILES)]


def _whole(path: Path) -> NDArray[np.uint8]:
    if path.suffix != ".svs":
        return np.asarray(Image.open(path).convert("RGB"))
    with openslide.OpenSlide(path) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))


def _row(stain: SlideStain) -> str:
    upper = np.array(stain.od_covariance)[np.triu_indices(3)]
    values = (*stain.haematoxylin, *stain.eosin, *stain.maxima, *stain.od_mean)
    return " ".join(
        [*(f"{value * 1e3:.0f}" for value in values), *(f"{v * 1e5:.0f}" for v in upper)]
    )


def main() -> None:
    """Print the module as it stands, with other figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    slides = list(slides_of(parser.parse_args().data))
    stains = [s for s in fit_slide_stains(slides) if not np.allclose(s.eosin, PUBLISHED_HE[1])]
    before, table, rest = inspect.getsource(common_slides).partition('_TABLE = """\n')
    between = rest[rest.index('"""') : rest.index("COMMON_TEMPLATES = ")]
    print(before + table + "\n".join(map(_row, stains)) + "\n" + between, end="")
    templates = fit_templates(slides)
    print("COMMON_TEMPLATES = TemplateStatistics(")
    for space in ("lab", "hed", "hsv"):
        print(f"    {space}=SpaceStatistics(")
        for name, values in vars(getattr(templates, space)).items():
            print(f"        {name}=({', '.join(f'{value:.4g}' for value in values)}),")
        print("    ),")
    print(rest[rest.rindex(')\n"""') :], end="")


if __name__ == "__main__":
    main()
