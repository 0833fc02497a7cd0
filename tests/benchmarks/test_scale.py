"""The arithmetic of capacity: bounds that hold for any costs, and costs found again from outputs that have them."""

import math
from pathlib import Path

import pytest

from backwalk.sampling import TILE_ROWS
from benchmarks.scale import BILLION, PARTS, Costs, capacity, costs_of, told

COSTS = Costs(row=2e-5, part=0.02, start=10.0, bytes=70.0)
SECONDS = {"write": 4e-7, "read": 1e-7, "encode": 1e-7, "sample": 2e-5 - 4e-7, "score": 1e-3}
WORK = {
    "key": {"what": PARTS},
    "seconds": SECONDS,
    "fit_seconds": 60.0,
    "rows_trained": 10**6,
    "bytes": 70.0,
    "network": "a network",
    "n_evaluations": 20,
}


@pytest.mark.parametrize("cores", [1, 7, 100, 1_000])
@pytest.mark.parametrize("part_rows", [2_048, 2**20])
def test_no_core_works_faster_than_its_rate(cores, part_rows):
    found = capacity(BILLION, cores, part_rows, COSTS)
    assert found.parts == math.ceil(BILLION / part_rows)
    assert found.seconds >= COSTS.start + BILLION * COSTS.row / cores
    assert 0.0 < found.share <= 1.0
    assert found.share == pytest.approx(BILLION * COSTS.row / (cores * found.seconds))
    assert capacity(BILLION, 2 * cores, part_rows, COSTS).seconds <= found.seconds


def test_one_core_makes_all_parts_one_after_the_other():
    found = capacity(10 * 2048, 1, 2048, COSTS)
    assert found.seconds == pytest.approx(10.0 + 10 * 0.02 + 10 * 2048 * 2e-5)


def test_a_slow_folder_limits_any_number_of_cores():
    found = capacity(BILLION, 1_000, 2**20, COSTS, bandwidth=1e8)
    assert found.limit == "writing"
    assert found.seconds == pytest.approx(10.0 + 700.0)


def of_engine(engine, workers, n_parts, *, part, start, values="a"):
    each = TILE_ROWS * (SECONDS["sample"] + SECONDS["write"]) + part
    key = {"what": "an output", "engine": engine, "workers": workers, "n_rows": n_parts * 2048, "part_rows": 2048}
    last = start + n_parts * each
    return {"key": key, "seconds": last, "first": start + each, "last": last, "parts": n_parts, "values": values}


def test_costs_are_found_again():
    found = costs_of(WORK, of_engine("ray", 1, 50, part=0.02, start=10.0))["rows drawn"]
    assert (found.row, found.bytes) == pytest.approx((2e-5, 70.0))
    assert (found.part, found.start) == pytest.approx((0.02, 10.0))


def test_the_page_tells_values_that_differ():
    alone = of_engine("local", 1, 50, part=0.01, start=0.0)
    same, other = (of_engine("ray", n, 50, part=0.02, start=10.0, values=v) for n, v in ((1, "a"), (2, "b")))
    page = told([WORK, alone, same, other], Path())
    assert [line.rstrip(" |").rpartition("| ")[2] for line in page.splitlines() if "| 50 |" in line] == [
        "the same",
        "the same",
        "OTHER",
    ]
    assert "1,000" in page
