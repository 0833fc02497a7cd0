"""Files cut off, changed and made up to harm: an error in one line, or data that pass every check; never a crash."""

import gzip
import io
import os
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from backwalk import Diffusion, ModelFileError, TableFileError
from backwalk.table import read_table
from tests.trials.children import failures, resident

pytestmark = pytest.mark.campaign

SUFFIXES = (".csv", ".tsv.gz", ".parquet")


@cache
def table_file(suffix):
    """A sound file, whose damages are tried."""
    if suffix == ".parquet":
        file = io.BytesIO()
        pyarrow.parquet.write_table(pa.table({"a": np.linspace(-1.0, 1.0, 12), "count": list(range(12))}), file)
        return file.getvalue()
    lines = (b"%.3f,%d,%s\n" % (i / 7, i, (b"true", b"false")[i % 2]) for i in range(12))
    text = b'"a","count","flag"\n' + b"".join(lines)
    return text if suffix == ".csv" else gzip.compress(text.replace(b",", b"\t"), mtime=0)


def check_table(path, content):
    """A table file is refused in one line, or read as a table without infinities."""
    path.write_bytes(content)
    try:
        table = read_table(path)
    except TableFileError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)
        assert len(str(error)) < 1000
    else:
        assert table.values.ndim == 2
        assert table.values.size > 0
        assert not np.isinf(table.values).any()


def mutated(data, seed):
    """Bytes of which one to four places were changed, cut out, doubled or put in."""
    rng, damaged = np.random.default_rng(seed), bytearray(data)
    for _ in range(rng.integers(1, 5)):
        place, length = int(rng.integers(len(damaged))), int(rng.integers(1, 9))
        match rng.integers(4):
            case 0:
                damaged[place] = int(rng.integers(256))
            case 1:
                del damaged[place : place + length]
            case 2:
                damaged[place:place] = damaged[place : place + length]
            case _:
                damaged[place:place] = bytes([rng.choice(list(b'\0\n\r,"=-eE.9;\xff'))])
        damaged = damaged or bytearray(b"\n")
    return bytes(damaged)


def damages(content, n):
    """The content cut off at n places, and n times with other bytes."""
    lengths = np.unique(np.linspace(0, len(content) - 1, n).astype(int))
    return [content[:k] for k in lengths] + [mutated(content, seed) for seed in range(n)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_table_is_refused_or_read_whole(suffix, tmp_path):
    path = tmp_path / f"file{suffix}"
    assert not failures([lambda c=c: check_table(path, c) for c in damages(table_file(suffix), 100)])


WIDE = ",".join(f"c{j}" for j in range(100_000)).encode()
HOSTILE = {
    "utf-16": (".csv", lambda: table_file(".csv").decode().encode("utf-16")),
    "latin-1": (".csv", lambda: "größe,b\n1,2\n3,4\n".encode("latin-1")),
    "zero bytes": (".csv", lambda: table_file(".csv").replace(b"1", b"\0")),
    "beyond doubles": (".csv", lambda: b"a\n1e400\n-1e400\n"),
    "all bytes": (".csv", lambda: bytes(range(256)) * 100),
    "no gzip": (".csv.gz", lambda: table_file(".csv")),
    "100,000 columns": (".csv", lambda: WIDE + b"\n" + b",".join([b"1"] * 100_000) + b"\n"),
    "a cell of 10 MB": (".csv", lambda: b"a\n" + b"1" * 10_000_000 + b"\n"),
    "ragged": (".csv", lambda: b"a\n" + b"1\n2,3\n" * 100_000),
    "no footer": (".parquet", lambda: b"PAR1" + b"\x1c" * 10_000_000 + (10_000_000).to_bytes(4, "little") + b"PAR1"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_table_is_refused_or_read_whole_in_two_gigabytes(name, tmp_path):
    suffix, make = HOSTILE[name]
    path, content = tmp_path / f"file{suffix}", make()
    assert not failures([lambda: check_table(path, content)], seconds=60.0)


class Trap:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder):
        self._folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self._folder / "trapped"),)


def torch_file(folder):
    torch.save({"weights": Trap(folder)}, folder / "t")
    return (folder / "t").read_bytes()


HOSTILE_MODELS = {
    "pickle": lambda folder: pickle.dumps([Trap(folder), b"0" * 10_000]),
    "torch": torch_file,
    "empty": lambda folder: b"",
    "a header of 2^63 bytes": lambda folder: (2**63).to_bytes(8, "little") + b"{}",
    "deep JSON": lambda folder: (750_000).to_bytes(8, "little") + b'{"a":' * 150_000,
    "many values": lambda folder: (2**21).to_bytes(8, "little") + b"[]," * 2**20,
    "zeros": lambda folder: Path("/dev/zero"),
    "a folder": lambda folder: folder,
}


@pytest.mark.parametrize("name", HOSTILE_MODELS)
def test_a_hostile_model_is_refused_runs_nothing_and_takes_little_memory(name, tmp_path):
    made, path = HOSTILE_MODELS[name](tmp_path), tmp_path / "m"
    if isinstance(made, bytes):
        path.write_bytes(made)
    else:
        path = made

    def case():
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        with pytest.raises(ModelFileError) as error:
            Diffusion.load(path, device="cpu")
        size = len(made) if isinstance(made, bytes) else 0
        assert resident("VmHWM") - before <= 2 * size + 32 * 2**20
        assert str(path) in str(error.value)

    assert not failures([case])
    assert not (tmp_path / "trapped").exists()
