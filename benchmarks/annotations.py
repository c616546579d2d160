"""Seconds and memory of an annotation of a million vertices, in each of the three formats.

Three kinds of annotation on a slide of 100,000 x 100,000 px: one smooth outline, the same outline
traced along pixels (which touches and crosses itself), and 10,000 overlapping outlines. Each is
written, then read and laid over a grid of tiles in a process of its own.

Usage: python benchmarks/annotations.py [--vertices 1000000] [--tile-px 1000]
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medsimclr.slides.annotations.coverage import class_coverage
from medsimclr.slides.annotations.reading import read_annotation

SLIDE_PX = 100_000
FORMATS = ("geojson", "asap", "imagescope")


def smooth(n_vertices: int) -> list[NDArray[np.float64]]:
    """One outline with large and fine dents, some 1.4 px from vertex to vertex."""
    angle = np.linspace(0, 2 * np.pi, n_vertices, endpoint=False)
    radius = SLIDE_PX * (0.36 + 0.06 * np.sin(17 * angle) + 5e-4 * np.sin(6000 * angle))
    outline = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None] + SLIDE_PX / 2
    return [outline.round(3)]


def traced(n_vertices: int) -> list[NDArray[np.float64]]:
    """The smooth outline with its vertices on whole pixels."""
    return [outline.round() for outline in smooth(n_vertices)]


def overlapping(n_vertices: int) -> list[NDArray[np.float64]]:
    """Ten thousand outlines at random places that cover much of the slide."""
    centres = np.random.default_rng(0).uniform(1000, SLIDE_PX - 1000, (10_000, 1, 2))
    angle = np.linspace(0, 2 * np.pi, max(3, n_vertices // 10_000), endpoint=False)
    around = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (
        500 + 90 * np.sin(7 * angle[:, None])
    )
    return list((centres + around).round(3))


KINDS = {"smooth": smooth, "traced": traced, "overlapping": overlapping}


def write(path: Path, outlines: list[NDArray[np.float64]], *, format_name: str) -> None:
    """Write outlines of the class "tumor"."""
    if format_name == "geojson":
        frame = (
            '{"type": "FeatureCollection", "features": [', ",", "]}",
            '{"type": "Feature", "properties": {"classification": {"name": "tumor"}}, "geometry": '
            '{"type": "Polygon", "coordinates": [[%s]]}}',
            ", ",
        )  # fmt: skip
        points = [[f"[{x}, {y}]" for x, y in outline.tolist()] for outline in outlines]
        points = [[*outline, outline[0]] for outline in points]
    elif format_name == "asap":
        frame = (
            "<ASAP_Annotations><Annotations>", "", "</Annotations></ASAP_Annotations>",
            '<Annotation Name="a" Type="Polygon" PartOfGroup="tumor"><Coordinates>%s'
            "</Coordinates></Annotation>",
            "\n",
        )  # fmt: skip
        points = [
            [
                f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>'
                for i, (x, y) in enumerate(outline.tolist())
            ]
            for outline in outlines
        ]
    else:
        frame = (
            '<Annotations><Annotation Name="tumor"><Regions>', "",
            "</Regions></Annotation></Annotations>",
            '<Region Type="0" NegativeROA="0"><Vertices>%s</Vertices></Region>', "\n",
        )  # fmt: skip
        points = [
            [f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in outline.tolist()]
            for outline in outlines
        ]
    head, between, tail, part, comma = frame
    path.write_text(head + between.join(part % comma.join(p) for p in points) + tail)


def measure(path: Path, *, tile_px: int) -> tuple[float, float, float, int, int]:
    """Return seconds to read and to lay over tiles, the mean coverage, MB at the peak, tiles."""
    start = time.perf_counter()
    areas = read_annotation(path)
    read = time.perf_counter()
    left, top = (
        axis.ravel() for axis in np.meshgrid(*[np.arange(0, SLIDE_PX, tile_px, dtype=float)] * 2)
    )
    coverage = class_coverage(list(areas.values()), np.c_[left, top, left + tile_px, top + tile_px])
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return read - start, end - read, float(coverage.mean()), peak, len(coverage)


def _measure(arguments: tuple[Path, int]) -> tuple[float, float, float, int, int]:
    return measure(arguments[0], tile_px=arguments[1])


def main() -> None:
    """Print a row for each kind and format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vertices", type=int, default=1_000_000)
    parser.add_argument("--tile-px", type=int, default=1000)
    options = parser.parse_args()
    print(
        f"{'kind':12} {'format':11} {'MB':>5} {'read s':>7} {'tiles s':>8} {'peak MB':>8}  covered"
    )
    # Spawned, so that the peak is that of a fresh process.
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for kind, outlines_of in KINDS.items():
            outlines = outlines_of(options.vertices)
            for format_name in FORMATS:
                path = Path(folder) / f"a.{'geojson' if format_name == 'geojson' else 'xml'}"
                write(path, outlines, format_name=format_name)
                with context.Pool(1) as pool:
                    read, tiles, covered, peak, n_tiles = pool.apply(
                        _measure, ((path, options.tile_px),)
                    )
                megabytes = path.stat().st_size / 1e6
                print(
                    f"{kind:12} {format_name:11} {megabytes:5.0f} {read:7.2f} {tiles:8.2f} "
                    f"{peak:8}  {covered:.6f} of {n_tiles} tiles",
                    flush=True,
                )


if __name__ == "__main__":
    main()
