import hashlib

import pytest

from medsimclr.files.checksum import sha256_of_file, sha256_of_value


def test_sha256_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"\0tile" * 100_000)
    expected = hashlib.sha256(b"\0tile" * 100_000).hexdigest()
    assert sha256_of_file(tmp_path / "a") == expected


def test_sha256_of_a_value_ignores_the_order_of_keys_and_nothing_else():
    assert sha256_of_value({"a": 1, "b": None}) == sha256_of_value({"b": None, "a": 1})
    assert sha256_of_value({"a": 1}) != sha256_of_value({"a": 1.5})
    assert sha256_of_value(["a", "b"]) != sha256_of_value(["b", "a"])
    with pytest.raises(ValueError, match="not JSON compliant"):
        sha256_of_value(float("inf"))
