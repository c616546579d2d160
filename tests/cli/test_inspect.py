"""`medsimclr inspect` says of a slide what tiling does with it."""

import json

import numpy as np
import pytest
import tifffile

from tests.cli.command import assert_refused, medsimclr

SECRET = "DOE JOHN 1970-01-01"


def _tissue(width, height):
    generator = np.random.default_rng(0)
    image = np.full((height, width, 3), 245, np.uint8)
    stained = image[:, width // 4 :]
    stained[...] = np.array([190, 110, 165]) + generator.integers(-25, 26, stained.shape)
    return image


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An Aperio slide of JPEG tiles of 64 px at 0.5 um/px, and files that are no slides."""
    place = tmp_path_factory.mktemp("inspect")
    description = f"Aperio Image Library v1\r\n1x1|AppMag = 20|MPP = 0.5|Patient = {SECRET}"
    with tifffile.TiffWriter(place / "a.svs") as tiff:
        tiff.write(
            _tissue(1000, 800),
            tile=(64, 64),
            photometric="rgb",
            compression="jpeg",
            compressionargs={"level": 80},
            subsampling=(2, 2),
            description=description,
            metadata=None,
        )
    (place / "broken.svs").write_bytes(b"this is no slide")
    (place / "named 'x'\n.svs").write_bytes(b"neither")
    return place


def _inspected(place, *words):
    result = medsimclr("inspect", *words, "--json", cwd=place)
    assert result.returncode == 0, result.stderr
    (facts,) = json.loads(result.stdout)["slides"].values()
    return facts


def test_it_says_format_scale_levels_and_way(place):
    result = medsimclr("inspect", "a.svs", "--tile-px", 64, cwd=place)
    assert result.returncode == 0, result.stderr
    for text in (
        "a\n  format   aperio, opened by OpenSlide 4",
        "0.5 um/px at level 0; source: slide",
        "level 0  1000 x 800, 1/1, 0.5 um/px; JPEG, tiles of 64 x 64, YCbCr, 4:2:0, quality",
        "at 0.5 um/px, 64 px: level 0, not resampled; JPEG tiles copied undecoded",
        "of tissue, of 180 on the grid; about",
    ):
        assert text in result.stdout
    assert SECRET not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("words", "reading", "reduction", "resampling", "n_grid"),
    [
        (["--tile-px", 64], "copied", 1, "none", 15 * 12),
        (["--tile-px", 64, "--edge", "pad"], "copied", 1, "none", 16 * 13),
        (["--tile-px", 64, "--overlap-px", 32], "decoded", 1, "none", 30 * 24),
        (["--tile-px", 100], "decoded", 1, "none", 10 * 8),
        (["--tile-px", 64, "--mpp", 1], "decoded", 2, "dct", 7 * 6),
        (["--tile-px", 64, "--mpp", 1.3], "decoded", 1, "area", 6 * 4),
        # The slide states its scale, which this does not overrule.
        (["--tile-px", 64, "--source-mpp", 0.25], "copied", 1, "none", 15 * 12),
        (["--tile-px", 64, "--reader", "openslide"], "region", 1, "none", 15 * 12),
    ],
)
def test_the_way_is_that_of_tiling(place, words, reading, reduction, resampling, n_grid):
    estimate = _inspected(place, "a.svs", *words)["estimate"]
    way = (estimate["reading"], estimate["reduction"], estimate["resampling"], estimate["n_grid"])
    assert way == (reading, reduction, resampling, n_grid)


def test_the_estimate_is_what_tiling_writes(place):
    estimate = _inspected(place, "a.svs", "--tile-px", 64)["estimate"]
    words = "tile a.svs --mpp 0.5 --tile-px 64 --out s.zarr --json"
    tiled = medsimclr(*words.split(), cwd=place)
    assert tiled.returncode == 0, tiled.stderr
    assert json.loads(tiled.stdout)["written"] == {"a": estimate["n_tissue"]}
    written = sum(path.stat().st_size for path in (place / "s.zarr").rglob("images/c/**/*"))
    assert estimate["n_bytes"]["jpeg"] == pytest.approx(written, rel=0.25)
    assert estimate["n_bytes"]["raw"] == estimate["n_tissue"] * (64 * 64 * 3 + 4)


def test_a_real_slide_names_its_label_and_the_tiles_that_tiling_finds(shared_data, tmp_path):
    facts = _inspected(tmp_path, shared_data / "slides" / "cmu_small_region.svs")
    assert facts["unread_images"] == ["label", "macro", "thumbnail"]
    assert facts["estimate"]["n_grid"] == 9 * 13
    assert (facts["mpp"], facts["mpp_source"]) == (0.499, "slide")


def test_a_slide_without_scale_is_described_and_says_what_to_do(shared_data, tmp_path):
    path = shared_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    result = medsimclr("inspect", path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "scale    none that can be used; the slide states none" in result.stdout
    assert "level 1  2221 x 1783, 1/2.00051; JPEG 2000, tiles of 256 x 256" in result.stdout
    assert (
        "refused; the slide states no mpp, and none is guessed. Give --source-mpp" in result.stdout
    )
    given = _inspected(tmp_path, path, "--source-mpp", 0.5)
    assert (given["mpp"], given["mpp_source"]) == (0.5, "--source-mpp")
    assert given["refusal"] is None


def test_what_cannot_be_read_is_named_and_the_others_are_shown(place):
    result = medsimclr("inspect", ".", cwd=place)
    assert_refused(result, 3, "2 of 3 slides cannot be read")
    assert "\na\n" in "\n" + result.stdout
    assert "refused broken: 'broken.svs' is no slide" in result.stdout
    assert "refused named__x__" in result.stdout


def test_nothing_readable_is_exit_4(place):
    result = medsimclr("inspect", "broken.svs", cwd=place)
    assert_refused(result, 4, "none of 1 slides could be read", "'broken.svs' is no slide")
    assert_refused(medsimclr("inspect", "nowhere", cwd=place), 4, "'nowhere' does not exist")


def test_wrong_options_are_refused(place):
    words = ("inspect", "a.svs", "--stride-px", 64, "--overlap-px", 8)
    assert_refused(medsimclr(*words, cwd=place), 2, "give --stride-px or --overlap-px, not both")
    words = ("inspect", "a.svs", "--tile-px", 64, "--overlap-px", 64)
    assert_refused(medsimclr(*words, cwd=place), 2, "--overlap-px must be below --tile-px 64")
