"""Sealed files: exact, refused where a single bit is another, and looked at before memory is taken."""

import random

import pytest
import safetensors.torch
import torch

from backwalk.checksummed import NotChecksummed, checksummed_bytes, open_checksummed

TENSORS = {"a": torch.tensor([1.5, -0.0, float("nan")]), "b": torch.arange(6).reshape(2, 3), "none": torch.empty(0)}
RECORD = {"text": 'ä"\\ \n', "zeros": "0" * 64, "number": 0.1, "list": [1, None, True]}


def write(path, record=RECORD, tensors=TENSORS, **options):
    path.write_bytes(checksummed_bytes(record, tensors, **{"form": "thing", "version": 3, **options}))
    return path


def read(path, **options):
    with open_checksummed(path, **{"form": "thing", "version": 3, **options}) as file:
        return file.record, file.tensors()


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "file")


def test_what_goes_in_comes_out(path):
    record, tensors = read(path)
    assert record == RECORD
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        assert tensor.shape == TENSORS[name].shape
        assert tensor.numpy().tobytes() == TENSORS[name].numpy().tobytes()


def test_it_is_a_safetensors_file_and_the_same_bytes_each_time(path, tmp_path):
    assert set(safetensors.torch.load_file(path)) == set(TENSORS)
    assert write(tmp_path / "again").read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_every_truncation_is_refused(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(NotChecksummed):
            read(path)
    path.write_bytes(content + b"\0")
    with pytest.raises(NotChecksummed, match="checksum"):
        read(path)


@pytest.mark.slow
def test_every_changed_byte_is_refused(path):
    content, rng = path.read_bytes(), random.Random(0)
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= rng.randrange(1, 256)
        path.write_bytes(altered)
        with pytest.raises(NotChecksummed):
            read(path)


def test_another_form_or_version_is_told_apart(path):
    with pytest.raises(NotChecksummed, match="should be a other"):
        read(path, form="other")
    with pytest.raises(NotChecksummed, match="should be 4, but got 3: use another"):
        read(path, version=4)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"other": "{}"},
        {"backwalk": "[]"},
        {"backwalk": "[" * 100_000},
        {"backwalk": '{"sha256": 1, "format": "thing", "version": 3, "record": {}}'},
        {"backwalk": '{"sha256": "", "format": "thing", "version": 3, "record": {}}'},
    ],
    ids=range(6),
)
def test_a_safetensors_file_without_our_seal_is_refused(tmp_path, metadata):
    safetensors.torch.save_file(TENSORS, tmp_path / "f", metadata=metadata)
    with pytest.raises(NotChecksummed):
        read(tmp_path / "f")


def test_a_file_that_is_written_to_between_two_looks_is_refused(tmp_path):
    path = write(tmp_path / "file", {"text": "x" * 100_000})  # more than Python reads ahead
    with open_checksummed(path, form="thing", version=3) as file:
        path.write_bytes(path.read_bytes().replace(b"x" * 100, b"y" * 100))
        with pytest.raises(NotChecksummed, match="it was written to while it was read"):
            file.tensors()
