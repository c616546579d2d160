import errno
import os

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from medsimclr.errors import OutputError
from medsimclr.report.picture_files import save_figure, save_image

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
