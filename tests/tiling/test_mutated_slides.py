"""300 damaged copies of small real slides: each ends written or refused, and nothing hangs."""

import shutil
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from medsimclr.config.tile import TileConfig
from medsimclr.slides.opening import slide_id_of
from medsimclr.store.reader import TileStore
from medsimclr.tiling.tile import tile

_APERIO = "Aperio Image Library v11.2.1\r\n960x960 [0,0 960x960] (240x240) JPEG/RGB Q=80|MPP = 0.5"
# How many mutants are made of each base; together 300.
_N_MUTANTS = {
    "aperio.svs": 110,
    "ome.ome.tif": 60,
    "generic.tif": 30,
    "dicom.dcm": 50,
    "plain.jpeg": 30,
    "hamamatsu.ndpi": 20,
}
_N_BATCHES = 6
# Words of the reasons of a slide that is not recognised as damaged before it takes all it may.
_AT_A_LIMIT = ("MB of memory", "was given up")


def _pyramid(path, level0_HW3, *, description=None, metadata=None, is_ome=False):
    levels = [level0_HW3, level0_HW3.reshape(480, 2, 480, 2, 3).mean((1, 3)).astype(np.uint8)]
    with tifffile.TiffWriter(path, ome=is_ome) as tiff:
        for index, level_HW3 in enumerate(levels):
            tiff.write(
                level_HW3,
                tile=(240, 240),
                compression="jpeg",
                compressionargs={"level": 80},
                photometric="rgb",
                subfiletype=1 if index else 0,
                subifds=1 if is_ome and index == 0 else None,
                resolution=(20_000, 20_000),
                resolutionunit="CENTIMETER",
                description=description,
                metadata=metadata,
            )


@pytest.fixture(scope="module")
def bases(tmp_path_factory, shared_data):
    """Return a folder of small undamaged slides."""
    folder = tmp_path_factory.mktemp("bases")
    with openslide.OpenSlide(shared_data / "slides" / "cmu_small_region.svs") as slide:
        tissue_HW3 = np.asarray(slide.read_region((300, 900), 0, (960, 960)))[:, :, :3]
    _pyramid(folder / "aperio.svs", tissue_HW3, description=_APERIO)
    _pyramid(folder / "generic.tif", tissue_HW3)
    _pyramid(folder / "ome.ome.tif", tissue_HW3, metadata={"axes": "YXS"}, is_ome=True)
    Image.fromarray(tissue_HW3).save(folder / "plain.jpeg", quality=80)
    shutil.copy(shared_data / "slides" / "bone_marrow_jpeg.dcm", folder / "dicom.dcm")
    shutil.copy(shared_data / "slides" / "fluorescence_dapi.ndpi", folder / "hamamatsu.ndpi")
    return folder


def _header_offsets(path):
    """Return the offsets of the bytes that describe the picture and are not its compressed data."""
    n_bytes = path.stat().st_size
    is_header = np.ones(n_bytes, bool)
    if path.suffix in (".dcm", ".jpeg"):
        is_header[2048 if path.suffix == ".dcm" else 640 :] = False
        return np.flatnonzero(is_header)
    with tifffile.TiffFile(path) as tiff:
        for page in tiff.pages:
            for full in (page.aspage(), *(sub.aspage() for sub in page.aspage().pages or ())):
                for start, size in zip(full.dataoffsets, full.databytecounts, strict=True):
                    is_header[start : start + size] = False
    return np.flatnonzero(is_header)


def _mutant(content, header, generator):
    """Return one damaged copy of a file's bytes."""
    mutant = bytearray(content)
    kind = generator.integers(6)
    if kind <= 1:
        for offset in generator.choice(header, generator.integers(1, 9)):
            mutant[offset] = generator.integers(256)
    elif kind == 2:
        for offset in generator.integers(0, len(mutant), generator.integers(1, 65)):
            mutant[offset] ^= 1 << generator.integers(8)
    elif kind == 3:
        del mutant[generator.integers(1, len(mutant)) :]
    else:
        size = int(min(2 ** generator.integers(4, 14), len(mutant) // 2))
        start, source = generator.integers(0, len(mutant) - size, 2)
        block = bytes(size) if kind == 4 else content[source : source + size]
        mutant[start : start + size] = block
    return bytes(mutant)


@pytest.fixture(scope="module")
def mutants(bases, tmp_path_factory):
    """Return folders of mutants, each with one undamaged slide."""
    folders = [tmp_path_factory.mktemp(f"batch_{index}") for index in range(_N_BATCHES)]
    for number, (name, n_mutants) in enumerate(_N_MUTANTS.items()):
        content, header = (bases / name).read_bytes(), _header_offsets(bases / name)
        stem, suffix = name.split(".", 1)
        for index in range(n_mutants):
            generator = np.random.default_rng([number, index])
            mutant = folders[index % _N_BATCHES] / f"{stem}_{index:03}.{suffix}"
            mutant.write_bytes(_mutant(content, header, generator))
    for folder in folders:
        shutil.copy(bases / "aperio.svs", folder / "good.svs")
        # A folder for each: OpenSlide looks for levels of a DICOM slide in all files beside it.
        for path in folder.glob("*.dcm"):
            (folder / path.stem).mkdir()
            path.rename(folder / path.stem / path.name)
    return folders


def _table(folder, place):
    """Write a table that gives each slide the scale asked, whatever it says itself."""
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    table = place / "slides.csv"
    table.write_text("slide,patient,mpp\n" + "".join(f"{name},p,0.5\n" for name in names))
    return table


def test_every_base_can_be_tiled(bases, tmp_path):
    config = TileConfig(
        inputs=[bases],
        out=tmp_path / "s.zarr",
        slides_csv=_table(bases, tmp_path),
        mpp=0.5,
        tile_px=120,
        min_tissue=0,
    )
    report = tile(config)
    assert report.failed == {}
    assert sorted(report.written) == sorted(slide_id_of(Path(name)) for name in _N_MUTANTS)


@pytest.fixture(scope="module")
def reports(mutants, tmp_path_factory):
    """Return what became of each batch."""
    reports = []
    for batch, folder in enumerate(mutants):
        place = tmp_path_factory.mktemp("store")
        config = TileConfig(
            inputs=[folder],
            out=place / "s.zarr",
            mpp=0.5,
            slides_csv=_table(folder, place),
            # Tiles of the slides' own grid are copied undecoded, others are decoded.
            tile_px=240 if batch % 2 else 120,
            min_tissue=0,
            workers=2,
            slide_memory_mb=512,
            slide_seconds=10,
        )
        reports.append(tile(config))
    return reports


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(_N_BATCHES))
def test_every_mutant_is_written_or_refused_with_one_line(mutants, reports, batch):
    folder, report = mutants[batch], reports[batch]
    tile_px = 240 if batch % 2 else 120
    n_files = sum(path.is_file() for path in folder.rglob("*"))
    assert len(report.written) + len(report.failed) == n_files
    assert report.written["good"] == (960 // tile_px) ** 2
    for reason in report.failed.values():
        assert reason.isprintable(), reason
        assert len(reason) > 20, reason
    store = TileStore(report.store)
    assert [slide.slide_id for slide in store.slides] == sorted(report.written)
    (good,) = [slide for slide in store.slides if slide.slide_id == "good"]
    assert good.reading == ("copied" if tile_px == 240 else "decoded")
    for index, slide in enumerate(store.slides):
        tiles = store.read_tiles([index] * slide.n_tiles, range(slide.n_tiles))
        assert tiles.shape == (slide.n_tiles, tile_px, tile_px, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", _N_MUTANTS)
def test_of_every_base_some_mutants_are_written_and_some_refused(reports, name):
    stem = name.split(".")[0]
    written = [slide_id for report in reports for slide_id in report.written]
    refused = [slide_id for report in reports for slide_id in report.failed]
    assert any(slide_id.startswith(f"{stem}_") for slide_id in written)
    assert any(slide_id.startswith(f"{stem}_") for slide_id in refused)


@pytest.mark.slow
def test_no_mutant_comes_to_a_limit(reports):
    reasons = [reason for report in reports for reason in report.failed.values()]
    assert [why for why in reasons if any(words in why for words in _AT_A_LIMIT)] == []
