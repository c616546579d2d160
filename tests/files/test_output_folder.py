import os
import re

import pytest

from medsimclr.errors import ConfigError
from medsimclr.files.output_folder import check_output_file, check_output_folder


def test_a_folder_that_is_there_or_can_be_made_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path, tmp_path / "new" / "deep", tmp_path / "..", "new", "."):
        check_output_folder(type(tmp_path)(place))
    (tmp_path / "link").symlink_to(tmp_path)
    check_output_folder(tmp_path / "link" / "new")


@pytest.mark.parametrize("below", ["", "run", "deep/run"])
@pytest.mark.parametrize("kind", ["file", "pipe", "broken link"])
def test_what_is_no_folder_is_refused_with_this_sentence(tmp_path, kind, below):
    taken = tmp_path / "taken"
    if kind == "file":
        taken.write_text("a file")
    elif kind == "pipe":
        os.mkfifo(taken)
    else:
        taken.symlink_to(tmp_path / "nowhere")
    sentence = (
        f"--preview needs a folder at {str(taken / below)!r}, new or there already, got the file "
        f"{str(taken)!r}; choose another --preview."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        check_output_folder(taken / below, option="--preview")


def test_a_file_may_be_there_or_new_but_no_folder_and_not_below_a_file(tmp_path):
    (tmp_path / "map.png").write_bytes(b"")
    for place in ("map.png", "new.png", "new/deep/map.png"):
        check_output_file(tmp_path / place, example="map.png")
    sentence = (
        f"--out must name the file to write, got the folder {str(tmp_path)!r}; add a file name, as "
        "in --out map.png."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        check_output_file(tmp_path, example="map.png")
    with pytest.raises(ConfigError, match="--out needs a folder at"):
        check_output_file(tmp_path / "map.png" / "map.png", example="map.png")
