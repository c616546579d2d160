import errno
import os

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from medsimclr.errors import ConfigError, OutputError
from medsimclr.report.picture_files import check_picture_place, save_figure, save_image

IMAGE_HW3 = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def test_an_image_is_written_as_it_is_to_a_folder_that_is_made(tmp_path):
    save_image(IMAGE_HW3, tmp_path / "new" / "image.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "image.png")), IMAGE_HW3)


@pytest.mark.parametrize(("save", "picture"), [(save_image, IMAGE_HW3), (save_figure, Figure())])
def test_a_full_disk_leaves_the_earlier_picture(tmp_path, monkeypatch, save, picture):
    def is_full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "picture.png"
    out.write_bytes(b"the earlier one")
    monkeypatch.setattr(os, "fsync", is_full)
    with pytest.raises(OutputError, match="No space left on device"):
        save(picture, out)
    assert out.read_bytes() == b"the earlier one"


def test_a_picture_takes_the_place_of_a_picture_and_of_nothing_else(tmp_path):
    check_picture_place(tmp_path / "new" / "map.png", example="map.png")
    save_image(IMAGE_HW3, tmp_path / "old.PNG")
    check_picture_place(tmp_path / "old.PNG", example="map.png")
    for name in ("zarr.json", "table.png"):
        (tmp_path / name).write_text("{}")
        with pytest.raises(ConfigError, match="got a file that is no PNG"):
            check_picture_place(tmp_path / name, example="map.png")
    with pytest.raises(ConfigError, match="got another ending"):
        check_picture_place(tmp_path / "map.pngg", example="map.png")
