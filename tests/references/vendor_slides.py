"""Smallest slides of each vendor that the real OpenSlide opens, of known lossless pixels.

Each writer takes (H, W, 3) levels, largest first, and returns the file to open. What OpenSlide
looks for stands in its documentation (https://openslide.org/formats/) and in its readers.
"""

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

__all__ = [
    "write_argos",
    "write_czi",
    "write_huron",
    "write_mirax",
    "write_philips",
    "write_scn",
    "write_tiff",
    "write_trestle",
    "write_ventana",
    "write_vms",
    "write_vmu",
]

Levels = Sequence[NDArray[np.uint8]]
TILE = 64


def write_tiff(path: Path, levels: Levels, **first: object) -> Path:
    """Write tiled levels; `first` holds further settings of the first directory."""
    with tifffile.TiffWriter(path) as tiff:
        for index, level in enumerate(levels):
            settings = {"compression": "zlib", **(first if index == 0 else {})}
            tiff.write(
                level,
                tile=(TILE, TILE),
                photometric="rgb",
                subfiletype=1 if index else 0,
                metadata=None,
                **settings,
            )
    return path


def write_philips(path: Path, levels: Levels) -> Path:
    """Philips TIFF: an XML of DataObjects; 0.5 um/px."""
    spacings = "".join(
        '<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING">'
        f"&quot;{0.0005 * 4**i}&quot; &quot;{0.0005 * 4**i}&quot;</Attribute></DataObject>"
        for i in range(len(levels))
    )
    xml = (
        '<?xml version="1.0"?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="DICOM_PIXEL_SPACING">&quot;0.0005&quot; &quot;0.0005&quot;</Attribute>'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array><DataObject ObjectType="DPScannedImage">'
        '<Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>'
        '<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>'
        f"{spacings}</Array></Attribute></DataObject></Array></Attribute></DataObject>"
    )
    return write_tiff(path, levels, description=xml, software="Philips DP v1.0")


def write_scn(path: Path, levels: Levels) -> Path:
    """Leica SCN: one area of 0.5 um/px, 32 right of and 48 below the corner of the collection."""
    height, width = levels[0].shape[:2]
    dimensions = "".join(
        f'<dimension ifd="{i}" sizeX="{level.shape[1]}" sizeY="{level.shape[0]}"/>'
        for i, level in enumerate(levels)
    )
    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection sizeX="{(width + 64) * 500}" sizeY="{(height + 64) * 500}"><image>'
        f"<pixels>{dimensions}</pixels>"
        f'<view sizeX="{width * 500}" sizeY="{height * 500}" offsetX="16000" offsetY="24000"/>'
        "<scanSettings><objectiveSettings><objective>20</objective></objectiveSettings>"
        "<illuminationSettings><illuminationSource>brightfield</illuminationSource>"
        "</illuminationSettings></scanSettings></image></collection></scn>"
    )
    scale = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    return write_tiff(path, levels, description=xml, **scale)


def write_trestle(path: Path, levels: Levels) -> Path:
    """Trestle: um/px in the place of the TIFF resolution."""
    return write_tiff(
        path,
        levels,
        description="Background Color=FFFFFF;Objective Power=20",
        software="MedScan",
        resolution=(0.5, 0.5),
    )


def write_huron(path: Path, levels: Levels) -> Path:
    """Huron TIFF: its make."""
    return write_tiff(
        path,
        levels,
        description="Resolution = 0.5 um",
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
        extratags=[(271, "s", 0, "Huron Technologies", True)],
    )


def write_argos(path: Path, levels: Levels) -> Path:
    """ARGOS AVS: an XML in a tag of its own."""
    xml = "<Argos.Scan.Metadata><MinZ>0</MinZ><MaxZ>0</MaxZ></Argos.Scan.Metadata>"
    return write_tiff(
        path,
        levels,
        resolution=(20_000, 20_000),
        resolutionunit="CENTIMETER",
        extratags=[(65000, "s", 0, xml, True)],
    )


def write_ventana(path: Path, image: NDArray[np.uint8]) -> Path:
    """Ventana BIF: 2 x 2 tiles that overlap by 8 px, numbered from below in serpentines."""
    assert image.shape == (2 * TILE - 8, 2 * TILE - 8, 3), image.shape
    advance = TILE - 8
    places = [(0, 0), (0, advance), (advance, 0), (advance, advance)]
    tiles = [image[y : y + TILE, x : x + TILE] for y, x in places]
    joined = np.concatenate(
        [np.concatenate(tiles[:2], axis=1), np.concatenate(tiles[2:], axis=1)], axis=0
    )
    joints = "".join(
        f'<TileJointInfo Direction="{direction}" Tile1="{one}" Tile2="{two}" Confidence="100" '
        f'OverlapX="{x}" OverlapY="{y}"/>'
        for direction, one, two, x, y in (
            ("RIGHT", 1, 2, 8, 0),
            ("RIGHT", 4, 3, 8, 0),
            ("UP", 1, 4, 0, 8),
            ("UP", 2, 3, 0, 8),
        )
    )
    stitches = (
        "<EncodeInfo><SlideStitchInfo>"
        f'<ImageInfo AOIScanned="1" Width="{TILE}" Height="{TILE}" NumRows="2" NumCols="2" '
        f'Pos-X="0" Pos-Y="0">{joints}</ImageInfo></SlideStitchInfo>'
        '<AoiOrigin><AOI0 OriginX="0" OriginY="0"/></AoiOrigin></EncodeInfo>'
    )
    scanner = '<iScan Magnification="20" ScanRes="0.5"/>'
    with tifffile.TiffWriter(path) as tiff:
        label = np.zeros((10, 20, 3), np.uint8)
        for page, description, xml, tile in (
            (label, "Label Image", scanner, None),
            (joined, "level=0 mag=20 quality=90", stitches, (TILE, TILE)),
        ):
            tiff.write(
                page,
                photometric="rgb",
                tile=tile,
                compression="zlib",
                description=description,
                metadata=None,
                extratags=[(700, "B", len(xml), xml.encode(), True)],
            )
    return path


def write_mirax(path: Path, levels: Levels) -> Path:
    """MIRAX: PNG images of 64 px listed by an index; the second level joins 2 x 2 of them."""
    folder = path.with_suffix("")
    folder.mkdir()
    height, width = levels[0].shape[:2]
    across, down = width // TILE, height // TILE
    data, pages = io.BytesIO(), []
    for exponent, level in enumerate(levels):
        entries = []
        step = 2**exponent
        for y in range(0, down, step):
            for x in range(0, across, step):
                top, left = y // step * TILE, x // step * TILE
                start = data.tell()
                image = np.full((TILE, TILE, 3), 255, np.uint8)
                pixels = level[top : top + TILE, left : left + TILE]
                image[: pixels.shape[0], : pixels.shape[1]] = pixels
                Image.fromarray(image).save(data, "PNG")
                entries.append((y * across + x, start, data.tell() - start, 0))
        pages.append(entries)
    (folder / "Data0000.dat").write_bytes(data.getvalue())
    (folder / "Index.dat").write_bytes(_mirax_index(b"01.02" + b"slide", pages))
    (folder / "Slidedat.ini").write_text(_mirax_ini(across, down, len(levels)))
    path.write_bytes(b"")
    return path


def _mirax_index(head: bytes, pages: list[list[tuple[int, int, int, int]]]) -> bytes:
    at_roots = len(head)
    at_levels = at_roots + 8
    at_pages = at_levels + 4 * len(pages)
    index = head + struct.pack("<2i", at_levels, at_levels)
    body = b""
    for entries in pages:
        start = at_pages + len(body)
        index += struct.pack("<i", start)
        body += struct.pack("<2i", 0, start + 8) + struct.pack("<2i", len(entries), 0)
        body += b"".join(struct.pack("<4i", *entry) for entry in entries)
    return index + body


def _mirax_ini(across: int, down: int, n_levels: int) -> str:
    sections = "".join(
        f"[LAYER_{i}]\nOVERLAP_X = 0\nOVERLAP_Y = 0\nMICROMETER_PER_PIXEL_X = {0.5 * 2**i}\n"
        f"MICROMETER_PER_PIXEL_Y = {0.5 * 2**i}\nIMAGE_FORMAT = PNG\n"
        f"IMAGE_FILL_COLOR_BGR = 16777215\nDIGITIZER_WIDTH = {TILE}\nDIGITIZER_HEIGHT = {TILE}\n"
        f"IMAGE_CONCAT_FACTOR = {min(i, 1)}\n"
        for i in range(n_levels)
    )
    names = "".join(f"HIER_0_VAL_{i}_SECTION = LAYER_{i}\n" for i in range(n_levels))
    return (
        f"[GENERAL]\nSLIDE_ID = slide\nIMAGENUMBER_X = {across}\nIMAGENUMBER_Y = {down}\n"
        "OBJECTIVE_MAGNIFICATION = 20\n[HIERARCHICAL]\nHIER_COUNT = 1\nNONHIER_COUNT = 0\n"
        f"INDEXFILE = Index.dat\nHIER_0_NAME = Slide zoom level\nHIER_0_COUNT = {n_levels}\n{names}"
        f"[DATAFILE]\nFILE_COUNT = 1\nFILE_0 = Data0000.dat\n{sections}"
    )


def write_vms(path: Path, levels: Levels) -> Path:
    """Hamamatsu VMS: JPEGs with restart markers, named by an index; not lossless."""
    for name, level in zip(("image.jpg", "map.jpg"), levels, strict=True):
        Image.fromarray(level).save(
            path.parent / name, quality=100, subsampling="4:4:4", restart_marker_blocks=8
        )
    height, width = levels[0].shape[:2]
    path.write_text(
        "[Virtual Microscope Specimen]\nNoLayers=1\nNoJpegColumns=1\nNoJpegRows=1\n"
        "ImageFile=image.jpg\nMapFile=map.jpg\n"
        f"PhysicalWidth={width * 500}\nPhysicalHeight={height * 500}\nSourceLens=20\n"
    )
    return path


def write_vmu(path: Path, levels: Levels) -> Path:
    """Hamamatsu VMU: 12-bit pixels in columns, named by an index."""
    for name, level in zip(("image.ngr", "map.ngr"), levels, strict=True):
        height, width = level.shape[:2]
        head = b"GN\0\0" + struct.pack("<3i8xi", width, height, width, 64)
        pixels = (level.astype("<u2") << 4).tobytes()
        (path.parent / name).write_bytes(head.ljust(64, b"\0") + pixels)
    height, width = levels[0].shape[:2]
    path.write_text(
        "[Uncompressed Virtual Microscope Specimen]\nImageFile=image.ngr\nMapFile=map.ngr\n"
        "BitsPerPixel=36\nPixelOrder=RGB\n"
        f"PhysicalWidth={width * 500}\nPhysicalHeight={height * 500}\n"
    )
    return path


def write_czi(path: Path, levels: Levels, *, compression: int = 0, pixel_type: int = 3) -> Path:
    """Zeiss CZI: one uncompressed BGR block for each level, 1/1, 1/2, 1/4 and so on."""
    height, width = levels[0].shape[:2]
    xml = (
        f"<ImageDocument><Metadata><Information><Image><SizeX>{width}</SizeX>"
        f"<SizeY>{height}</SizeY></Image></Information><Scaling><Items>"
        '<Distance Id="X"><Value>5e-7</Value></Distance>'
        '<Distance Id="Y"><Value>5e-7</Value></Distance>'
        "</Items></Scaling></Metadata></ImageDocument>"
    ).encode()
    at_blocks = 32 + 512
    blocks, entries = b"", []
    for i, level in enumerate(levels):
        stored_height, stored_width = level.shape[:2]
        entry = struct.pack(
            "<2siqiib5xi", b"DV", pixel_type, at_blocks + len(blocks), 0, compression, i, 2
        )
        for name, size, stored in (
            (b"X", stored_width * 2**i, stored_width),
            (b"Y", stored_height * 2**i, stored_height),
        ):
            entry += struct.pack("<4siifi", name, 0, size, 0.0, stored)
        entries.append(entry)
        pixels = level[:, :, ::-1].tobytes()
        head = struct.pack("<iiq", 0, 0, len(pixels)) + entry
        blocks += _segment(b"ZISRAWSUBBLOCK", head.ljust(256, b"\0") + pixels)
    at_directory = at_blocks + len(blocks)
    directory = _segment(
        b"ZISRAWDIRECTORY", struct.pack("<i", len(entries)).ljust(128, b"\0") + b"".join(entries)
    )
    at_metadata = at_directory + len(directory)
    metadata = _segment(b"ZISRAWMETADATA", struct.pack("<ii", len(xml), 0).ljust(256, b"\0") + xml)
    attachments = _segment(b"ZISRAWATTDIR", struct.pack("<i", 0).ljust(256, b"\0"))
    positions = struct.pack("<iqqiq", 0, at_directory, at_metadata, 0, at_metadata + len(metadata))
    head = struct.pack("<4i", 1, 0, 0, 0) + bytes(32) + positions
    file_segment = _segment(b"ZISRAWFILE", head.ljust(512, b"\0"))
    path.write_bytes(file_segment + blocks + directory + metadata + attachments)
    return path


def _segment(name: bytes, content: bytes) -> bytes:
    return struct.pack("<16sqq", name, len(content), len(content)) + content
