"""Files several times as large as the memory that a fit is given; the peak is that of a child process."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from benchmarks.fresh import forget_peak, held_bytes, in_fresh_process, peak_bytes

MIB = 2**20
N_ROWS, D = 6_000_000, 12
HERE = "tests.scale.test_larger_than_memory"
FIXED = 192 * MIB  # whatever the table: pages and buffers of Arrow, the network and its batches


def write_rows(folder, n_rows=N_ROWS, rows_a_group=200_000):
    """Write rows of numbers, whole numbers and texts; one has the largest number."""
    rng = np.random.default_rng(0)
    for first in range(0, n_rows, rows_a_group * 5):
        path = folder / f"part-{first:09}.parquet"
        with pa.parquet.ParquetWriter(path, _group(rng, 1).schema) as writer:
            for _ in range(5):
                writer.write_table(_group(rng, rows_a_group))


def _group(rng, n):
    x = rng.normal(size=(n, D - 2))
    columns = {f"x{j}": x[:, j] for j in range(D - 2)}
    return pa.table(
        {**columns, "count": rng.integers(1000, size=n), "kind": np.array(["a", "b", "c"])[rng.integers(3, size=n)]}
    )


def peak_of_fit(*, data, memory, max_steps):
    """Return the peak of a fit above what is held after a small one, by which everything is imported and set up."""
    from backwalk import Diffusion

    small = _group(np.random.default_rng(0), 3_000)
    Diffusion(max_steps=max_steps, random_state=0, verbose=False).fit(small)
    forget_peak()
    held = held_bytes()
    model = Diffusion(max_steps=max_steps, random_state=0, verbose=False).fit(data, memory=memory)
    return {"bytes": peak_bytes() - held, "card": model.model_.card}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("large")
    write_rows(place)
    return place


@pytest.mark.parametrize("memory", [128 * MIB, 256 * MIB])
def test_a_fit_takes_the_memory_that_it_is_given(folder, memory):
    assert 2 * memory < N_ROWS * D * 8
    found = in_fresh_process(f"{HERE}:peak_of_fit", data=str(folder), memory=memory, max_steps=30)
    assert found["card"]["n_table_rows"] == N_ROWS
    assert found["bytes"] < memory + FIXED


def test_text_takes_no_more(folder, tmp_path):
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        for i, part in enumerate(sorted(folder.iterdir())[:3]):
            options = pa.csv.WriteOptions(include_header=not i)
            pa.csv.write_csv(pa.parquet.read_table(part), file, options)
    assert path.stat().st_size > 4 * 128 * MIB
    found = in_fresh_process(f"{HERE}:peak_of_fit", data=str(path), memory=128 * MIB, max_steps=30)
    assert found["card"]["n_table_rows"] == 3_000_000
    assert found["bytes"] < 128 * MIB + FIXED
