"""Outputs in parts by several processes: the same rows, whoever makes them and whoever is killed meanwhile."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from backwalk import Diffusion, Residual, TableFileError
from backwalk.pieces import PartsFolder, make_parts, sample_parts, values_checksum, verify

N, PART = 40_000, 2048
LIBRARY = "import resource, sys; from backwalk.pieces import *; from backwalk.table import *; "


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model, and the checksum of the sample that is made of it."""
    X = pa.table({"x": np.random.default_rng(0).normal(size=200), "kind": ["a", "b"] * 100})
    small = Residual(width=16, n_blocks=1, n_members=2)
    model = Diffusion(n_steps=100, max_steps=10, denoiser=small, random_state=0, verbose=False).fit(X)
    path = tmp_path_factory.mktemp("model") / "model"
    model.save(path)
    return path, values_checksum(model.sample(N, random_state=3))


def begun(saved, folder, **options):
    """Begin the job of that sample with one part."""
    return sample_parts(saved[0], folder, N, seed=3, part_rows=PART, rows=(0, 1), **options).job


def python(code, *arguments, **options):
    return subprocess.Popen([sys.executable, "-c", LIBRARY + code, *map(str, arguments)], **options)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_makes_the_same_rows(saved, tmp_path, workers):
    begun(saved, tmp_path)
    assert make_parts(tmp_path, workers=workers).manifest.values == saved[1]


def children():
    """Return the worker processes of this one."""
    return [child.pid for child in multiprocessing.active_children()]


def test_a_killed_worker_costs_time_alone(saved, tmp_path):
    begun(saved, tmp_path)
    killed = []

    def kill_one(*_):
        if len(killed) < 2 and (workers := children()):  # none while those of a killed one end
            killed.append(workers[0])
            os.kill(killed[-1], signal.SIGKILL)

    made = make_parts(tmp_path, workers=2, watch=kill_one)
    assert len(killed) == 2
    assert made.manifest.values == saved[1]
    assert not verify(tmp_path).faults


def test_an_error_of_a_worker_ends_the_others_and_is_raised(saved, tmp_path):
    model = Diffusion.load(saved[0])
    model.save(tmp_path / "model")
    sample_parts(tmp_path / "model", tmp_path / "rows", N, seed=3, part_rows=PART, rows=(0, 1))
    (tmp_path / "model").unlink()
    with pytest.raises(Exception, match="model") as found:
        make_parts(tmp_path / "rows", workers=2)
    assert type(found.value).__name__ == "ModelFileError"
    assert not children()


def test_two_processes_share_a_folder(saved, tmp_path):
    code = "print(sample_parts(sys.argv[1], sys.argv[2], int(sys.argv[3]), seed=3, part_rows=2048).manifest.values)"
    both = [python(code, saved[0], tmp_path, N, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=300)[0].strip() for process in both] == [saved[1]] * 2
    assert not verify(tmp_path).faults


@pytest.mark.parametrize("moment", range(4))
def test_a_killed_process_is_continued(saved, tmp_path, moment):
    begun(saved, tmp_path)
    process = python("make_parts(sys.argv[1])", tmp_path)
    folder, n = PartsFolder(tmp_path), 1
    while n < 4 + 2 * moment and process.poll() is None:
        n = sum(part is not None for part in folder.parts(folder.job()))
        time.sleep(0.01)
    process.kill()
    process.wait()
    found = verify(tmp_path)
    assert set(found.faults.parts.values()) <= {"missing", "damaged"}  # one may be there without its entry
    assert make_parts(tmp_path).manifest.values == saved[1]
    assert not verify(tmp_path).faults


def test_a_disk_that_fills_up_is_named_and_loses_nothing(saved, tmp_path):
    sample_parts(saved[0], tmp_path, N, seed=3, part_rows=4 * PART, rows=(0, 1))
    whole = PartsFolder(tmp_path).path_of(0, 4 * PART).stat().st_size

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (whole // 2, whole // 2))

    process = python("make_parts(sys.argv[1])", tmp_path, preexec_fn=limit, stderr=subprocess.PIPE, text=True)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 1
    assert "TableFileError" in said
    assert "part-000000008192" in said
    assert set(verify(tmp_path).faults.parts.values()) == {"missing"}
    assert not list(tmp_path.glob(".*part"))
    assert make_parts(tmp_path).manifest.values == saved[1]


def test_a_folder_that_cannot_be_written_is_named(saved, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TableFileError, match="file"):
        begun(saved, tmp_path / "file" / "rows")


def peak(code, *arguments):
    """Return the most memory that a process held, in MiB, beyond its imports."""
    measured = "base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; " + code
    measured += "; print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) / 1024)"
    process = python(measured, *arguments, stdout=subprocess.PIPE, text=True)
    return float(process.communicate(timeout=600)[0])


def test_memory_does_not_grow_with_the_number_of_rows(saved, tmp_path):
    code = "sample_parts(sys.argv[1], sys.argv[2], int(sys.argv[3]), n_evaluations=2, seed=3, part_rows=2**17)"
    few, many = (peak(code, saved[0], tmp_path / str(n), n) for n in (2**18, 2**21))
    assert many < few + 24.0  # 2^21 rows take 32 MiB and more as numbers alone


def test_memory_does_not_grow_with_the_table_that_is_read(tmp_path):
    rng, code = np.random.default_rng(0), "n = int(sys.argv[3]); files = files_of_rows([sys.argv[1]]); "
    code += "sum(block.table(Selection())[0].values.sum() for block in row_blocks(files, n - 2**17, n, ['a', 'b']))"
    for suffix in ("csv", "parquet"):
        peaks = []
        for n in (2**19, 2**22):
            rows, path = pa.table({name: rng.normal(size=n).round(6) for name in "ab"}), tmp_path / f"{n}.{suffix}"
            if suffix == "csv":
                pa.csv.write_csv(rows, path)
            else:
                pyarrow.parquet.write_table(rows, path, row_group_size=2**18)
            peaks.append(peak(code, path, "-", n))
        assert peaks[1] < peaks[0] + 32.0  # 64 MiB as numbers, and as text more
