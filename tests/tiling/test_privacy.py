"""No name, path or date of a source enters a store, and label and macro images are never read."""

import base64
import io
import json
import os
import shutil

import numpy as np
import openslide
import pytest
import tifffile
import zarr
from PIL import Image

from medsimclr.config.tile import TileConfig
from medsimclr.store.reader import TileStore
from medsimclr.store.zarr_codec import register_jpeg_codec
from medsimclr.tiling.inputs import find_inputs
from medsimclr.tiling.tile import tile

# Every field of a source holds one of these, and nothing else in this file does.
_MARK = "MARKER"
_TILE_PX = 128
_GRID = 5
_DESCRIPTION = (
    "Aperio Image Library MARKERlibrary\r\n640x640 [0,0 640x640] (128x128) JPEG/RGB Q=90 MARKERline"
    "|AppMag = 20|MPP = 0.5|Filename = MARKERfile|Date = 03/14/09|Time = 15:42:07|User = MARKERuser"
    "|ScanScope ID = MARKERscanner|Title = MARKERpatient"
)
_DATES = ("03/14/09", "15:42:07", "2009:03:14", "2009-03-14", "20090314")
# Tags by number: DocumentName, Make, Model, PageName, Software, Artist, HostComputer, Copyright.
_TEXT_TAGS = (269, 271, 272, 285, 305, 315, 316, 33432)


def _jpeg_tile(generator, *, trailer=b""):
    """Return a JPEG stream of tissue colour with marks in each segment that may hold text."""
    pixels = np.array([190, 110, 165]) + generator.integers(-25, 26, (_TILE_PX, _TILE_PX, 3))
    exif = Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x0132] = "MARKERexif", "MARKERartist", "2009:03:14 15:42:07"
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(
        stream,
        "JPEG",
        quality=90,
        subsampling="4:2:0",
        comment=b"MARKERcomment",
        exif=exif,
        icc_profile=b"MARKERprofile of a camera",
    )
    # DNL: a segment that decoders pass over, so that it can hold anything.
    hidden = b"\xff\xdc" + (2 + 16).to_bytes(2, "big") + b"MARKERhidden____"
    content = stream.getvalue()
    return content[:2] + hidden + content[2:] + trailer


def _write_marked_slide(path, *, trailer=b""):
    """Write a slide of one level in tiles of 128 px, with a label and a macro image."""
    generator = np.random.default_rng(0)
    tags = [(code, "s", 0, f"MARKERtag{code}", True) for code in _TEXT_TAGS]
    tags.append((34675, 7, 20, b"MARKERiccMARKERicc..", True))
    tags.append((700, 1, 20, b"<x>MARKERxmp</x>....", True))
    side = _TILE_PX * _GRID
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            (_jpeg_tile(generator, trailer=trailer) for _ in range(_GRID**2)),
            shape=(side, side, 3),
            dtype=np.uint8,
            tile=(_TILE_PX, _TILE_PX),
            compression="jpeg",
            photometric="ycbcr",
            subsampling=(2, 2),
            description=_DESCRIPTION,
            datetime="2009:03:14 15:42:07",
            software=False,
            extratags=tags,
            metadata=None,
        )
        for name in ("label", "macro"):
            tiff.write(
                generator.integers(0, 256, (200, 300, 3)).astype(np.uint8),
                photometric="rgb",
                rowsperstrip=200,
                subfiletype=1 if name == "label" else 9,
                description=f"Aperio Image Library MARKER{name}\r\n{name} 300x200",
                metadata=None,
            )
    return path


def _needles(texts):
    """Return each text as it could stand in a file: plain, UTF-16, hexadecimal, base64."""
    for text in texts:
        for raw in (text.encode(), text.encode("utf-16-le"), text.encode("utf-16-be")):
            yield raw.lower()
            yield raw.hex().encode()
            for shift in range(3):
                # The first and last characters of base64 depend on the neighbours.
                yield base64.b64encode(bytes(shift) + raw)[4:-4].lower()


def _contents(store):
    """Return every byte of a store, lower case: names, files, and what is compressed, unpacked."""
    register_jpeg_codec()
    parts = {}
    for path in store.rglob("*"):
        name = path.relative_to(store).as_posix()
        parts[f"{name} (name)"] = name.encode().lower()
        if path.is_file():
            parts[name] = path.read_bytes().lower()
        if path.name == "zarr.json" and json.loads(path.read_text())["node_type"] == "array":
            values = zarr.open_array(path.parent, mode="r")[...]
            parts[f"{name} (values)"] = values.tobytes().lower()
    return parts


def _found(store, texts):
    needles = {needle for needle in _needles(texts) if len(needle) >= 6}
    return {
        (name, needle)
        for name, content in _contents(store).items()
        for needle in needles
        if needle in content
    }


@pytest.fixture
def marked(tmp_path):
    """Return a folder whose names are marks, with slides, an annotation and a table."""
    folder = tmp_path / "MARKERhospital" / "MARKERpatient_2009-03-14"
    (folder / "MARKERannotations").mkdir(parents=True)
    _write_marked_slide(folder / "one.svs")
    _write_marked_slide(folder / "two.svs", trailer=b"MARKERtrailer")
    square = [[0, 0], [640, 0], [640, 300], [0, 300], [0, 0]]
    feature = {
        "type": "Feature",
        "id": "MARKERid",
        "properties": {
            "classification": {"name": "tumor"},
            "name": "MARKERroi",
            "metadata": {"by": "MARKERannotator", "on": "2009-03-14"},
        },
        "geometry": {"type": "Polygon", "coordinates": [square]},
    }
    annotation = {"type": "FeatureCollection", "features": [feature], "source": "MARKERprogram"}
    (folder / "MARKERannotations" / "one.geojson").write_text(json.dumps(annotation))
    return folder


@pytest.mark.parametrize("tile_px", [_TILE_PX, 100])
@pytest.mark.parametrize("codec", ["jpeg", "zstd", "raw"])
def test_no_text_of_a_source_is_anywhere_in_a_store(marked, tmp_path, codec, tile_px):
    out = tmp_path / "s.zarr"
    config = TileConfig(
        inputs=[marked],
        annotations=marked / "MARKERannotations",
        out=out,
        mpp=0.5,
        tile_px=tile_px,
        codec=codec,
        min_tissue=0,
    )
    assert sorted(tile(config).written) == ["one", "two"]
    (slide, _) = TileStore(out).slides
    assert slide.mpp_source != "--source-mpp"
    assert (slide.reading == "copied") == (codec == "jpeg" and tile_px == _TILE_PX)
    assert _found(out, [_MARK, *_DATES, str(tmp_path), os.uname().nodename]) == set()


def test_an_alias_stands_for_the_name_of_the_file_everywhere(tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    _write_marked_slide(folder / "MARKER-mueller.svs")
    table = tmp_path / "slides.csv"
    table.write_text("slide,patient,alias\nMARKER-mueller,p1,s01\n")
    config = TileConfig(
        inputs=[folder], slides_csv=table, out=tmp_path / "s.zarr", mpp=0.5, tile_px=_TILE_PX,
        min_tissue=0,
    )  # fmt: skip
    assert list(tile(config).written) == ["s01"]
    assert _found(config.out, [_MARK, "mueller"]) == set()
    assert list(tile(config).kept) == ["s01"]


def test_names_of_images_of_a_folder_do_not_enter_a_store(tmp_path):
    folder = tmp_path / "MARKERfolder"
    (folder / "MARKERsub").mkdir(parents=True)
    generator = np.random.default_rng(0)
    names = ["MARKER-a.jpeg", "MARKERsub/MARKER-b.jpeg"]
    for name in names:
        (folder / name).write_bytes(_jpeg_tile(generator))
    rows = "".join(f"{name},tumor,case1,p1\n" for name in names)
    (folder / "labels.csv").write_text("image,label,slide,patient\n" + rows)
    config = TileConfig(inputs=[folder], out=tmp_path / "s.zarr", tile_px=64)
    assert tile(config).written == {"case1": 8}
    assert _found(config.out, [_MARK, *_DATES]) == set()


def test_an_image_that_belongs_to_no_slide_is_named_by_its_path_until_a_column_names_it(tmp_path):
    folder = tmp_path / "images"
    (folder / "MARKERsub").mkdir(parents=True)
    (folder / "MARKERsub" / "a.jpeg").write_bytes(_jpeg_tile(np.random.default_rng(0)))
    written = []
    for columns, cells in (("image", ""), ("image,slide", ",case1")):
        (folder / "labels.csv").write_text(f"{columns}\nMARKERsub/a.jpeg{cells}\n")
        config = TileConfig(inputs=[folder], out=tmp_path / f"{len(written)}.zarr", tile_px=64)
        written.append((list(tile(config).written), bool(_found(config.out, [_MARK]))))
    assert written == [(["MARKERsub_a.jpeg"], True), (["case1"], False)]


@pytest.mark.parametrize(
    "name",
    [
        "cmu_small_region.svs",
        "tcga-cr-7395-01a-01-ts1.svs",
        "fluorescence_dapi.ndpi",
        "camelyon_overview_jpeg2000.dcm",
        "bone_marrow_jpeg.dcm",
    ],
)
def test_no_property_of_a_real_slide_is_in_its_store(shared_data, tmp_path, name):
    source = shared_data / "slides" / name
    with openslide.OpenSlide(source) as slide:
        properties = dict(slide.properties)
    # Numbers and short texts stand in any file by chance.
    texts = {value for value in properties.values() if len(value) >= 8 and not _is_number(value)}
    # What we copy: the vendor.
    texts = {text for text in texts if text.lower() != properties["openslide.vendor"]}
    shutil.copy(source, tmp_path / f"one{source.suffix}")
    (tmp_path / "slides.csv").write_text("slide,patient,mpp\none,p1,0.5\n")
    config = TileConfig(
        inputs=[tmp_path / f"one{source.suffix}"], out=tmp_path / "s.zarr", mpp=0.5, min_tissue=0,
        slides_csv=tmp_path / "slides.csv",
    )  # fmt: skip
    assert list(tile(config).written) == ["one"]
    assert len(texts) >= 3
    assert _found(config.out, texts) == set()


def _is_number(text):
    return text.replace(".", "", 1).replace("-", "").isdigit()


def _side_pages(path):
    """Return the byte ranges of the pages of a TIFF that are no level: label, macro, thumbnail.

    OpenSlide looks at the head of an NDPI's macro image as it opens the slide, not at its pixels.
    """
    head = 2048 if path.suffix == ".ndpi" else 0
    with openslide.OpenSlide(path) as slide, tifffile.TiffFile(path) as tiff:
        levels = set(slide.level_dimensions)
        assert {"label", "macro"} & set(slide.associated_images)
        return [
            (start + head, size - head)
            for page in tiff.pages
            if (page.imagewidth, page.imagelength) not in levels
            for start, size in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]


@pytest.mark.parametrize(
    ("name", "tile_px"),
    [
        ("cmu_small_region.svs", 240),
        ("cmu_small_region.svs", 224),
        ("marked.svs", _TILE_PX),
        ("fluorescence_dapi.ndpi", 512),
    ],
)
def test_a_store_is_the_same_whatever_label_and_macro_show(shared_data, tmp_path, name, tile_px):
    table = tmp_path / "slides.csv"
    table.write_text("slide,patient,mpp\none,p1,0.5\n")
    stores = []
    for kind in ("clean", "poisoned"):
        path = tmp_path / kind / f"one.{name.split('.')[1]}"
        path.parent.mkdir()
        if name == "marked.svs":
            _write_marked_slide(path)
        else:
            shutil.copyfile(shared_data / "slides" / name, path)
        if kind == "poisoned":
            content = bytearray(path.read_bytes())
            for start, size in _side_pages(path):
                content[start : start + size] = np.random.default_rng(0).bytes(size)
            path.write_bytes(content)
        config = TileConfig(
            inputs=[path], out=tmp_path / f"{kind}.zarr", mpp=0.5, slides_csv=table,
            tile_px=tile_px, min_tissue=0,
        )  # fmt: skip
        assert list(tile(config).written) == ["one"]
        stores.append(config.out)
    clean, poisoned = (
        {p.relative_to(s): p.read_bytes() for p in s.rglob("*") if p.is_file()} for s in stores
    )
    differing = {str(path) for path in clean | poisoned if clean.get(path) != poisoned.get(path)}
    # The digest of the whole file, and with it the slide's metadata, must differ, and nothing else.
    assert differing == {"one/zarr.json"}
    one, other = (TileStore(store).slides[0].model_dump() for store in stores)
    assert {key for key in one if one[key] != other[key]} == {"source"}


@pytest.mark.parametrize("tile_px", [240, 224])
def test_label_and_macro_are_neither_opened_nor_read(shared_data, tmp_path, monkeypatch, tile_px):
    source = shared_data / "slides" / "cmu_small_region.svs"
    side_pages = _side_pages(source)
    read = []
    pread = os.pread

    def traced(file, n_bytes, offset):
        read.append((offset, n_bytes))
        return pread(file, n_bytes, offset)

    def refuse(*arguments):
        raise AssertionError(f"an associated image was asked for: {arguments}")

    monkeypatch.setattr(os, "pread", traced)
    for name in dir(openslide.lowlevel):
        if "associated_image" in name:
            monkeypatch.setattr(openslide.lowlevel, name, refuse)
    config = TileConfig(inputs=[source], out=tmp_path / "s.zarr", mpp=0.5, tile_px=tile_px)
    (slide,) = find_inputs(config).sources
    assert len(list(slide.open(lambda: None).tiles)) > 40
    assert len(read) > 40
    for offset, n_bytes in read:
        assert all(
            offset + n_bytes <= start or start + size <= offset for start, size in side_pages
        )
