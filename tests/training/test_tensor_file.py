"""Files of tensors, ours and those that mean harm: every byte belongs to one tensor, or none is."""

import contextlib
import json
import math
import os
import tracemalloc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from medsimclr.files.checksum import sha256_of_file
from medsimclr.training.tensor_file import parse_tensors, read_tensors

TENSORS = {
    "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "scalar": torch.tensor(7),
    "empty": torch.zeros(0, 3),
    "half": torch.ones(3, dtype=torch.bfloat16),
    "double": torch.tensor([math.pi], dtype=torch.float64),
    "bytes": torch.tensor([1, 2, 3], dtype=torch.uint8),
}


def as_content(header: object, data: bytes = b"", *, n_header: int | None = None) -> torch.Tensor:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    n_header = len(text) if n_header is None else n_header
    return torch.frombuffer(bytearray(n_header.to_bytes(8, "little") + text + data), dtype=U8)


U8 = torch.uint8


def entry(begin: object, end: object, *, dtype: object = "U8", shape: object = None) -> dict:
    return {
        "dtype": dtype,
        "shape": [end - begin] if shape is None else shape,
        "data_offsets": [begin, end],
    }


def test_what_the_package_writes_is_read():
    content = torch.frombuffer(bytearray(save(TENSORS, metadata={"format": "pt"})), dtype=U8)
    tensors = parse_tensors(content)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_tensors_share_the_bytes_that_were_read(tmp_path):
    big = {"big": torch.ones(1 << 18)}
    path = tmp_path / "model.safetensors"
    path.write_bytes(save(big))
    digest = sha256_of_file(path)
    tensor = read_tensors(tmp_path, path.name, sha256=digest, most_data_bytes=1 << 20)["big"]
    assert tensor.untyped_storage().nbytes() == path.stat().st_size


def test_unaligned_data_is_read():
    content = as_content(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0\0\x80?")
    assert (len(content) - 4) % 4 != 0
    assert parse_tensors(content)["a"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (torch.empty(0, dtype=U8), "a header of 0 bytes does not fit in 0 bytes"),
        (as_content({}, n_header=3), "a header of 3 bytes does not fit in 10 bytes"),
        (as_content({}, n_header=2**63), "a header of 9223372036854775808 bytes does not fit in"),
        (as_content(b"\xff\xfe"), "its header is no JSON: 'utf-8'"),
        (as_content(b"[" * 100_000), "its header is too deep"),
        (as_content(b'{"a":' * 100_000), "its header is too deep"),
        (as_content([]), "its header, : Input should be a valid dictionary"),
        (as_content({"a": None}), "its header, a: Input should be"),
        (as_content({"a": {}}), "its header, a.dtype: Field required"),
        (as_content({"a": entry(0, 1, dtype="O")}, b"x"), "its header, a.dtype: Input should be"),
        (as_content({"a": entry(0, 1, shape=[True])}, b"x"), "its header, a.shape.0"),
        (as_content({"a": entry(0, 1, shape=[1.0])}, b"x"), "its header, a.shape.0"),
        (as_content({"a": entry(0, 1, shape=[-1])}, b"x"), "its header, a.shape.0"),
        (as_content({"a": entry(0, 1, shape=[1] * 9)}, b"x"), "its header, a.shape: List"),
        (as_content({"a": entry(-1, 1, shape=[2])}, b"x"), "its header, a.data_offsets.0"),
        (as_content({"a": entry(0, 2**63, shape=[1])}, b"x"), "its header, a.data_offsets.1"),
        (as_content({"a": entry(0, 1, shape=[2**40, 2**40])}, b"x"), r"shape \[1099511627776, "),
        (as_content({"a": entry(0, 4 << 40)}, b"x"), "must lie at 0 to 4398046511104 of 1 bytes"),
        (as_content({"a": entry(0, 2), "b": entry(1, 3)}, b"xyz"), "'b' of shape .* at 2 to 4"),
        (as_content({"a": entry(0, 1), "b": entry(2, 3)}, b"xyz"), "'b' of shape .* at 1 to 2"),
        (as_content({"a": entry(0, 1), "b": entry(0, 1)}, b"x"), "'b' of shape .* at 1 to 2"),
        (as_content({"a": entry(0, 1)}, b"xyz"), "2 bytes after the last tensor belong to none"),
        (as_content(b'{"a":{"dtype":"U8","dtype":"U8"}}'), "its header has 'dtype' twice"),
        (as_content(b'{"a":1,"a":2}'), "its header has 'a' twice"),
        (as_content(b'{"a":' + b"9" * 5000 + b"}"), "Exceeds the limit"),
        (as_content({"a": {**entry(0, 1), "more": 1}}, b"x"), "its header, a.more: Extra inputs"),
    ],
)
def test_hostile_files_are_refused(content, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_tensors(content)


@given(st.binary(max_size=200), st.integers(0, 220))
def test_any_bytes_are_read_or_refused(data, n_header):
    content = torch.frombuffer(bytearray(n_header.to_bytes(8, "little") + data), dtype=U8)
    with contextlib.suppress(ValueError):
        tensors = parse_tensors(content)
        assert sum(tensor.nbytes for tensor in tensors.values()) <= len(data)


def test_declared_terabytes_take_no_memory():
    content = as_content({str(i): entry(0, 1 << 40, shape=[1 << 20, 1 << 20]) for i in range(100)})
    tracemalloc.start()
    with pytest.raises(ValueError, match="must lie at"):
        parse_tensors(content)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_other_bytes_are_not_looked_at(tmp_path):
    (tmp_path / "a").write_bytes(b"cos\nsystem\n.")
    with pytest.raises(ValueError, match="it fails its SHA-256"):
        read_tensors(tmp_path, "a", sha256="0" * 64, most_data_bytes=0)


def test_a_file_larger_than_expected_is_not_read(tmp_path):
    with (tmp_path / "a").open("wb") as file:
        file.truncate(1 << 42)
    sentence = "expected 12 bytes of tensors and a header of at most 16777216, got 4398046511104 b"
    with pytest.raises(ValueError, match=sentence):
        read_tensors(tmp_path, "a", sha256="0" * 64, most_data_bytes=12)
    os.truncate(tmp_path / "a", 8 + (16 << 20) + 12)
    with pytest.raises(ValueError, match="it fails its SHA-256"):
        read_tensors(tmp_path, "a", sha256="0" * 64, most_data_bytes=12)
