import numpy as np
import pytest

from medsimclr.errors import SlideError
from medsimclr.files.checksum import sha256_of_file
from medsimclr.slides.focus import focus_score
from medsimclr.store.schema import LEFT_OUT_REASONS
from medsimclr.tiling import source
from medsimclr.tiling.source import as_tiles, fingerprint, labels_of


def test_the_label_is_the_class_that_covers_most_if_it_covers_enough():
    coverage = np.array(
        [[0.6, 0.4], [0.2, 0.5], [0.49, 0.1], [0, 0], [0.5, 0.7], [1, 1]], np.float32
    )
    labels = labels_of(coverage, min_coverage=0.5)
    assert labels.tolist() == [0, 1, -1, -1, 1, -1]
    assert labels.dtype == np.int16


def test_without_classes_there_are_no_labels():
    assert labels_of(np.zeros((3, 0), np.float32), min_coverage=0.5).tolist() == [-1, -1, -1]


def test_images_become_numbered_tiles_with_a_focus_and_no_ink():
    images = [np.full((8, 8, 3), 7 * i, np.uint8) for i in range(3)]
    images[2][::2] = 200
    tiles = list(as_tiles(iter(images), slide_id="s", min_focus=0))
    assert [tile.row for tile in tiles] == [0, 1, 2]
    assert all(tile.pixels is image for tile, image in zip(tiles, images, strict=True))
    assert tiles[2].quality[0] == focus_score(images[2]) > 0 == tiles[0].quality[0]
    assert np.isnan([tile.quality[1:] for tile in tiles]).all()


def test_blurred_images_are_noted_and_one_must_be_sharp():
    flat, sharp = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    sharp[::2] = 200
    tiles = as_tiles(iter([flat, sharp, flat]), slide_id="s", min_focus=1)
    assert [tile.left_out for tile in tiles] == [3, None, 3]
    assert LEFT_OUT_REASONS[3] == "focus"
    with pytest.raises(SlideError, match=r"'s' gives no tile: none of 2 tiles has a focus of at"):
        list(as_tiles(iter([flat, flat]), slide_id="s", min_focus=1))


def test_a_small_file_is_known_by_its_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"slide")
    assert fingerprint(tmp_path / "a") == {"sha256": sha256_of_file(tmp_path / "a")}


def test_a_large_file_is_known_by_its_size_and_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_WHOLE_FILE_BYTES", 1000)
    monkeypatch.setattr(source, "_BLOCK_BYTES", 16)
    content = bytearray(range(256)) * 8
    digests = []
    for change in (None, 0, len(content) - 1, len(content)):
        changed = bytearray(content)
        if change == len(content):
            changed.append(0)
        elif change is not None:
            changed[change] ^= 1
        (tmp_path / "a").write_bytes(changed)
        (digest,) = fingerprint(tmp_path / "a").items()
        assert digest[0] == "quickhash"
        digests.append(digest[1])
    assert len(set(digests)) == 4


def test_large_files_of_one_byte_repeated_are_known_by_their_size(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_WHOLE_FILE_BYTES", 1000)
    monkeypatch.setattr(source, "_BLOCK_BYTES", 16)
    digests = []
    for n_bytes in (2000, 2001):
        (tmp_path / "a").write_bytes(bytes(n_bytes))
        digests.append(fingerprint(tmp_path / "a"))
    assert digests[0] != digests[1]
