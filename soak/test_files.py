"""Files cut off, changed and made up to harm: an error in one line, or data that pass every check; never a crash."""

import gzip
import io
import os
import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from backwalk import CheckpointError, Diffusion, ModelFileError, TableFileError
from backwalk.table import Schema, Table, as_table, read_table, write_table
from soak.children import failures
from soak.material import bits, estimator, fitted, mutated, resident, rows

SUFFIXES = (".csv", ".tsv.gz", ".parquet", ".npy")
TABLE = pa.table({"a": np.linspace(-1.0, 1.0, 12), "count": list(range(12)), "flag": [True, False] * 6})


def _arrow_file(table):
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file)
    return file.getvalue()


@cache
def _table_file(suffix):
    """Return a sound file, whose damages are tried."""
    if suffix == ".npy":
        file = io.BytesIO()
        np.save(file, as_table(TABLE).values)
        return file.getvalue()
    if suffix == ".parquet":
        return _arrow_file(TABLE.drop_columns(["flag"]))
    lines = (b"%.3f,%d,%s\n" % (i / 7, i, (b"true", b"false")[i % 2]) for i in range(12))
    text = b'"a","count","flag"\n' + b"".join(lines)
    return text if suffix == ".csv" else gzip.compress(text.replace(b",", b"\t"), mtime=0)


def _read(path, content):
    """Check that a table file is refused in one line, or read as a table that passes every check."""
    path.write_bytes(content)
    try:
        table = read_table(path)
    except TableFileError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)
        assert len(str(error)) < 1000
        assert "out of memory" not in str(error).lower(), f"2 GiB were not enough: {error}"
    else:
        assert table.values.ndim == 2
        assert table.values.size > 0
        assert not np.isinf(table.values).any()
        np.testing.assert_array_equal(table.schema.clipped(table.values), table.values)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.cases(short=15, full=400)
def test_a_table_cut_off_anywhere_is_refused_or_whole(suffix, n_cases, tmp_path):
    content, path = _table_file(suffix), tmp_path / f"file{suffix}"
    lengths = np.unique(np.linspace(0, len(content) - 1, min(n_cases, len(content))).astype(int))
    assert not failures([lambda k=k: _read(path, content[:k]) for k in lengths])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.cases(short=40, full=600)
def test_a_table_with_other_bytes_is_refused_or_whole(suffix, n_cases, tmp_path):
    content, path = _table_file(suffix), tmp_path / f"file{suffix}"

    def case(i):
        _read(path, mutated(content, np.random.default_rng(i)))

    assert not failures([lambda i=i: case(i) for i in range(n_cases)])


def _bomb(n_rows, n_columns=1):
    file, column = io.BytesIO(), pa.chunked_array([pa.repeat(1.0, 2**20)] * (n_rows // 2**20))
    table = pa.table({f"c{j}": column for j in range(n_columns)})
    pyarrow.parquet.write_table(table, file, compression="zstd", row_group_size=2**24)
    return file.getvalue()


def _long_levels():
    """A few bytes that stand for a long text in millions of rows."""
    indices = pa.array(np.arange(2**22) % 2, pa.int32())
    levels = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * 10_000, "y" * 10_000]))
    return _arrow_file(pa.table({"a": levels}).replace_schema_metadata({}))


WIDE = ",".join(f"c{j}" for j in range(100_000)).encode()
HOSTILE = [
    (".csv", lambda: _table_file(".csv").decode().encode("utf-16")),
    (".csv", lambda: "größe,b\n1,2\n3,4\n".encode("latin-1")),
    (".csv", lambda: b"\xef\xbb\xbf" + _table_file(".csv")),
    (".csv", lambda: _table_file(".csv").replace(b"\n", b"\r\n", 5).replace(b"\n", b"\r", 2)),
    (".csv", lambda: _table_file(".csv").replace(b"1", b"\0")),
    (".csv", lambda: b"a\n1e400\n-1e400\n"),
    (".csv", lambda: b"a\n0x10\n1_000\n"),
    (".csv", lambda: b"a\nNaN\nnull\n#N/A\n"),
    (".csv", lambda: bytes(range(256)) * 100),
    (".csv", lambda: b"a\n12345678901234567890\n"),
    (".csv", lambda: b'a,b\n0001-01-01,x\n9999-12-31 23:59:59.999999999,""\n'),
    (".csv.gz", lambda: _table_file(".csv")),
    (".tsv.gz", lambda: _table_file(".tsv.gz") * 2),
    (".parquet", lambda: b"PAR1" + b"\xff" * 100 + (2**31 - 1).to_bytes(4, "little") + b"PAR1"),
    (".parquet", lambda: b"PAR1PAR1"),
    (".parquet", lambda: _arrow_file(pa.table({"a": [[1.0]] * 3}))),
    (".parquet", lambda: _arrow_file(pa.table({"a": [{"x": 1.0}] * 3}))),
    (".parquet", lambda: _arrow_file(pa.table({"a": pa.array([2**62, 5], pa.timestamp("us"))}))),
    (".parquet", lambda: _arrow_file(pa.table({"a": pa.array([], pa.float64())}))),
    (".parquet", lambda: _arrow_file(pa.table({}))),
    (".npy", lambda: _table_file(".npy").replace(b"(12, 3)", b"(9999999999, 3)")),
    (".npy", lambda: _table_file(".npy").replace(b"(12, 3)", b"(%d, 3)" % 2**63)),
    (".npy", lambda: _table_file(".npy").replace(b"'<f8'", b"'|O' ")),
    (".npy", lambda: _table_file(".npy").replace(b"'<f8'", b"'<c8'")),
    (".npy", lambda: b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + b"{" * 1000),
    (".npy", lambda: _table_file(".npy").replace(b"'<f8'", b"'|S268435456'").replace(b"(12, 3)", b"(1, 1)")),
    (".csv", lambda: WIDE + b"\n" + b",".join([b"1"] * 100_000) + b"\n"),
    (".csv", lambda: b"a\n" + b"1" * 10_000_000 + b"\n"),
    (".csv", lambda: b"," * 5_000_000 + b"\n"),
    (".csv", lambda: b"\n" * 5_000_000),
    (".csv", lambda: b"a\n" + b"1\n2,3\n" * 100_000),
    (".csv", lambda: b"a,b\n" + b'1,5" pipe\n' * 500_000),
    (".csv.gz", lambda: gzip.compress(gzip.compress(b" " * 2**30, 1) * 2, 1)),
    (".tsv.gz", lambda: gzip.compress(b"\n" * (2**30 + 1), 1)),
    (".parquet", _long_levels),
    (".parquet", lambda: _bomb(2**28)),
    (".parquet", lambda: _bomb(2**20, 2_000)),
    (".parquet", lambda: b"PAR1" + b"\x1c" * 10_000_000 + (10_000_000).to_bytes(4, "little") + b"PAR1"),
]


@pytest.mark.parametrize("which", range(len(HOSTILE)))
def test_a_hostile_table_is_refused_or_whole_within_limits(which, tmp_path):
    suffix, make = HOSTILE[which]
    path, content = tmp_path / f"file{suffix}", make()
    assert not failures([lambda: _read(path, content)])


@pytest.mark.parametrize("is_escaped", [True, False])
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\uff1d", "\uff20", "\t", "\r", "\n", ""])
def test_headers_that_a_spreadsheet_would_run_are_escaped(sign, is_escaped, tmp_path):
    path, values = tmp_path / "rows.csv", -np.abs(np.random.default_rng(0).normal(size=(3, 2)))
    header = f"{sign}cmd|x"
    schema = Schema((header, "b=c"), ("float64",) * 2, "pandas")
    write_table(path, Table(values, schema), escape_formulas=is_escaped)
    found = pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True))
    assert found.column_names == [f"'{header}" if sign and is_escaped else header, "b=c"]
    np.testing.assert_array_equal(np.column_stack([column.to_numpy() for column in found.columns]), values)


def _load(path, content):
    """Check that a model file is refused in one line, or gives the very same model."""
    path.write_bytes(content)
    try:
        model = Diffusion.load(path, device="cpu")
    except ModelFileError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)
        assert len(str(error)) < 1000
    else:
        assert bits(model) == bits(fitted())


def _resume(path, content):
    """Check that a checkpoint is refused in one line, or leads to the same model."""
    path.write_bytes(content)
    try:
        model = estimator(max_steps=5).fit(rows(), checkpoint=path, resume=True)
    except CheckpointError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)
    else:
        assert bits(model) == bits(fitted())


@pytest.fixture(params=["model", "checkpoint"])
def sound(request, tmp_path):
    """A sound file, its path, and what is tried with a damaged one."""
    path = tmp_path / request.param
    if request.param == "model":
        fitted().save(path)
        return path, path.read_bytes(), _load
    estimator(max_steps=5).fit(rows(), checkpoint=path)
    return path, path.read_bytes(), _resume


@pytest.mark.cases(short=30, full=2_000)
def test_a_model_cut_off_anywhere_is_refused(sound, n_cases):
    path, content, attempt = sound
    lengths = np.unique(np.linspace(0, len(content) - 1, min(n_cases, len(content))).astype(int))
    assert not failures([lambda k=k: attempt(path, content[:k]) for k in lengths])


@pytest.mark.cases(short=40, full=2_000)
def test_a_model_with_other_bytes_is_refused_or_the_same(sound, n_cases):
    path, content, attempt = sound

    def case(i):
        attempt(path, mutated(content, np.random.default_rng(i)))

    assert not failures([lambda i=i: case(i) for i in range(n_cases)])


class _Trap:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder):
        self._folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self._folder / "trapped"),)


def _torch_file(folder):
    torch.save({"weights": _Trap(folder)}, folder / "t")
    return (folder / "t").read_bytes()


HOSTILE_MODELS = {
    "pickle": lambda folder: pickle.dumps([_Trap(folder), b"0" * 10_000]),
    "torch": _torch_file,
    "empty": lambda folder: b"",
    "brackets": lambda folder: b"[" * 1_000_000,
    "zip": lambda folder: b"PK\x03\x04" + b"\0" * 1000,
    "a header of 2^63 bytes": lambda folder: (2**63).to_bytes(8, "little") + b"{}",
    "deep JSON": lambda folder: (750_000).to_bytes(8, "little") + b'{"a":' * 150_000,
    "many values": lambda folder: (2**21).to_bytes(8, "little") + b"[]," * 2**20,
    "zeros": lambda folder: Path("/dev/zero"),
    "pipe": lambda folder: os.mkfifo(folder / "m") or folder / "m",
    "a link to itself": lambda folder: (folder / "m").symlink_to(folder / "m") or folder / "m",
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
        assert "\n" not in str(error.value)

    assert not failures([case])
    assert not (tmp_path / "trapped").exists()
