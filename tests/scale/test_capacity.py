"""The benchmark of capacity, at its least size, from measurements to the page."""

from pathlib import Path

from benchmarks import scale
from benchmarks.record import Store


def test_the_benchmark_runs_and_is_told(has_ray, tmp_path):
    store = Store(tmp_path / "scale.json")
    scale.run(store, scale.SIZES["quick"])
    assert not [result["failed"] for result in store.results if "failed" in result]
    page = scale.told(store.results, Path())
    assert page.count("the same") == 4
    assert "OTHER" not in page
    assert "rows scored" in page
