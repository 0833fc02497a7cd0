"""Laws of copies: what is drawn is as probable as stated, under any condition, and a head is a head.

Models are hardly trained, so that their copies are as good as any. Seeds are fixed.
"""

import itertools
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from backwalk import Diffusion
from backwalk.denoiser import Residual

N_DRAWS, ERRORS = 400, 4.0  # standard errors: a false alarm in 16,000 comparisons
RULES = {
    "levels": ["end ?= start"],
    "numbers": ["paid ?= price"],
    "chain": ["june ?= may", "july ?= june"],
    "mixed": ["code ?= number"],
}


def tables():
    """Tables with copies: of levels, of numbers, of three columns with atoms, and of levels and numbers."""
    rng = np.random.default_rng(0)
    n = 400
    start, end = rng.integers(0, 20, (2, n))
    price, other = rng.lognormal(size=(2, n))
    is_copy = rng.random((3, n)) < 0.4
    months = [np.where(rng.random(n) < 0.2, 0.0, rng.lognormal(8.0, 1.0, n))]
    for each in is_copy[:2]:
        new = np.where(rng.random(n) < 0.2, 0.0, months[-1] * rng.lognormal(0.0, 0.3, n))
        months.append(np.where(each, months[-1], new))
    code = rng.integers(0, 30, n)
    kind = rng.choice(["x", "y"], n)
    yield "levels", {"start": start, "end": np.where(is_copy[0], start, end), "kind": kind}
    yield "numbers", {"price": price, "paid": np.where(is_copy[0], price, other), "kind": kind}
    yield "chain", dict(zip(("may", "june", "july"), months, strict=True)) | {"z": rng.normal(size=n)}
    yield "mixed", {"code": code, "number": np.where(is_copy[0], code, rng.normal(15.0, 5.0, n)), "kind": kind}


@cache
def fitted(name):
    """Return a model of a table, which tests share, and the table."""
    table = pd.DataFrame(dict(tables())[name])
    network = Residual(width=16, n_blocks=1, n_members=1)
    model = Diffusion(
        max_steps=15, denoiser=network, conditions="any", rules=RULES[name], random_state=0, verbose=False
    )
    return model.fit(table), table


def can_be_scored(model, rows):
    """Whether all rows have a log-density, whose value a coarse solver tells too."""
    return bool(model.log_density(rows, n_intervals=2).log_prob.isfinite().all())


def pairs_of(name):
    return [tuple(rule.split(" ?= ")) for rule in RULES[name]]


def known_cells(name, table, n):
    """Rows of which nothing is known, one cell of a row, or both cells of a copy: n of each."""
    row = table.iloc[7]
    known = [{}, *({column: row[column]} for column in table)]
    known += [{source: row[target], target: row[target]} for target, source in pairs_of(name)]
    return pd.DataFrame([cells for cells in known for _ in range(n)], columns=table.columns)


def test_copies_are_found_and_refused_as_rules_are():
    model, table = fitted("levels")
    assert model.rules_ == RULES["levels"]
    network = Residual(width=8, n_blocks=1, n_members=1)
    found = Diffusion(max_steps=1, denoiser=network, random_state=0, verbose=False)
    assert found.fit(table).rules_ == RULES["levels"]
    assert clone(found).set_params(rules=None).fit(table).rules_ == []


@pytest.mark.parametrize("name", RULES)
def test_every_drawn_row_can_be_scored_under_every_condition(name):
    model, table = fitted(name)
    known = known_cells(name, table, 6)
    drawn = model.sample(len(known), given=known, random_state=0)
    is_known = known.notna().to_numpy()
    assert (drawn.to_numpy(object) == known.to_numpy(object))[is_known].all()
    assert can_be_scored(model, drawn)


@pytest.mark.parametrize(
    "name", [*list(RULES)[::2], *(pytest.param(name, marks=pytest.mark.slow) for name in list(RULES)[1::2])]
)
def test_rows_drawn_beside_a_value_and_within_a_range_can_be_scored(name):
    model, table = fitted(name)
    target, source = pairs_of(name)[0]
    value, ends = table[target].iloc[7], tuple(table[target].quantile([0.2, 0.7]))
    drawn = model.sample(6, given={source: value, target: ends}, random_state=1)
    assert (drawn[source] == value).all()
    assert drawn[target].between(*ends).all()
    assert can_be_scored(model, drawn)


@pytest.mark.parametrize("name", RULES)
def test_a_head_of_a_sample_is_a_head(name):
    model, table = fitted(name)
    known = known_cells(name, table, 6)
    drawn = model.sample(len(known), given=known, random_state=3)
    for start, stop in ((0, 9), (10, 20)):
        part = model.sample(rows=(start, stop), given=known[start:stop], random_state=3)
        expected = drawn[start:stop].reset_index(drop=True)
        pd.testing.assert_frame_equal(part.reset_index(drop=True), expected, rtol=1e-3)  # rounding


def test_probabilities_of_a_table_of_levels_sum_to_1():
    model, _ = fitted("levels")
    every = pd.DataFrame(itertools.product(range(20), range(20), ["x", "y"]), columns=["start", "end", "kind"])
    assert np.exp(model.score_samples(every)).sum() == pytest.approx(1.0, abs=1e-4)
    for given in (["start"], ["end"], ["kind"], ["start", "kind"]):
        log_p = model.score_samples(every, given=given)
        totals = pd.Series(np.exp(log_p)).groupby([every[name] for name in given]).sum()
        np.testing.assert_allclose(totals, 1.0, atol=1e-4)


def test_the_share_of_copies_in_draws_is_their_probability():
    model, _ = fitted("levels")
    every = pd.DataFrame(itertools.product(range(20), range(20), ["x", "y"]), columns=["start", "end", "kind"])
    p = np.exp(model.score_samples(every))
    drawn = model.sample(4 * N_DRAWS, random_state=5)
    for which in (every.start == every.end, every.end < 5, (every.start == 3) & (every.end == 3)):
        share = float(p[which].sum())
        observed = pd.merge(drawn, every[which], on=list(every))
        error = np.sqrt(share * (1.0 - share) / len(drawn))
        assert abs(len(observed) / len(drawn) - share) < ERRORS * error


@pytest.mark.parametrize("given", [{"start": 3}, {"end": 3}])
def test_the_share_of_copies_given_a_cell_is_that_of_its_conditional(given):
    model, _ = fitted("levels")
    (name,), (other,) = given, {"start", "end"} - set(given)
    drawn = model.sample(N_DRAWS, given=given, random_state=6)
    asked = pd.DataFrame({**given, other: range(20)})
    log_p = model.score_samples(asked, given=[name], columns=[other])
    of_conditional = model.conditional(asked[[name]][:1], other, given=[name]).probabilities[0]
    np.testing.assert_allclose(np.exp(log_p), of_conditional, atol=1e-5)
    share = of_conditional[3]
    assert abs((drawn[other] == 3).mean() - share) < ERRORS * np.sqrt(share * (1.0 - share) / N_DRAWS)


@pytest.mark.parametrize(("one", "other"), [("price", "paid"), ("paid", "price")])
def test_ranges_of_numbers_are_as_probable_as_draws_say(one, other):
    model, table = fitted("numbers")
    x = float(table[one].median())
    drawn = model.sample(N_DRAWS, given={one: x}, random_state=8)
    is_copy = float((drawn[other] == x).mean())
    assert 0.05 < is_copy < 0.95
    for ends in ((0.0, 0.9 * x), (0.9 * x, 1.1 * x)):
        p = float(np.exp(model.score_samples(pd.DataFrame({one: [x]}), given=[one], columns={other: ends}))[0])
        share = drawn[other].between(*ends).mean()
        assert abs(share - p) < ERRORS * np.sqrt(max(p * (1.0 - p), 1e-3) / N_DRAWS)


def test_copies_are_as_frequent_within_a_range_as_among_the_draws_that_lie_there():
    model, table = fitted("numbers")
    x = float(table["price"].median())
    paid = model.sample(N_DRAWS, given={"price": x}, random_state=8)["paid"]
    expected = (paid == x).mean() / paid.between(0.9 * x, 1.1 * x).mean()
    within = model.sample(N_DRAWS, given={"price": x, "paid": (0.9 * x, 1.1 * x)}, random_state=9)
    assert abs((within["paid"] == x).mean() - expected) < 2.0 * ERRORS * np.sqrt(0.25 / N_DRAWS)


def test_a_copy_of_numbers_is_scored_by_its_probability_and_the_density_of_one():
    model, table = fitted("numbers")
    x = float(table["price"].median())
    drawn = model.sample(4 * N_DRAWS, given={"price": x, "kind": "x"}, random_state=10)
    row = pd.DataFrame({"price": [x], "paid": [x], "kind": ["x"]})
    p = float(np.exp(model.score_samples(row, given=["price", "kind"]))[0])
    assert abs((drawn["paid"] == x).mean() - p) < ERRORS * np.sqrt(p * (1.0 - p) / len(drawn))


@pytest.mark.parametrize("name", RULES)
def test_gaps_are_filled_by_draws_means_and_medians(name):
    model, table = fitted(name)
    rng = np.random.default_rng(4)
    gaps = table[:12].mask(rng.random((12, table.shape[1])) < 0.4)
    for statistic in (None, "mean", "median"):
        options = {"statistic": statistic} if statistic else {}
        filled = model.impute(gaps, random_state=5, **options)
        assert filled.notna().all().all()
        is_there = gaps.notna().to_numpy()
        assert (filled.to_numpy()[is_there] == table[:12].to_numpy()[is_there]).all()


def test_a_model_with_copies_is_the_same_from_its_file(tmp_path):
    model, table = fitted("chain")
    model.save(tmp_path / "model.npz")
    again = Diffusion.load(tmp_path / "model.npz")
    assert again.rules_ == model.rules_
    pd.testing.assert_frame_equal(again.sample(20, random_state=1), model.sample(20, random_state=1))
    one, other = (each.log_density(table[:20], n_intervals=2).log_prob for each in (again, model))
    np.testing.assert_array_equal(one, other)


def test_a_found_copy_never_makes_a_call_fail():
    rng = np.random.default_rng(0)
    code = rng.integers(0, 40, 400)
    number = np.where(rng.random(400) < 0.4, code, rng.normal(20.0, 5.0, 400).round(3))
    network = Residual(width=16, n_blocks=1, n_members=1)
    model = Diffusion(max_steps=15, denoiser=network, conditions="any", random_state=0, verbose=False)
    table = pd.DataFrame({"code": code, "number": number, "z": rng.normal(size=400)})
    model.fit(table)
    assert model.rules_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gaps = table[:30].mask(rng.random((30, 3)) < np.linspace(0.0, 0.6, 30)[:, None])
        model.impute(gaps)
        model.log_density(gaps, n_intervals=2)
        model.sample(2, given=pd.DataFrame({"number": [3.125, 1e6]}), random_state=0)
        model.sample(8, given={"code": 7, "number": (20.5, 20.9)}, random_state=0)
    model.conditional(table[:5], "number").mean  # noqa: B018
    model.bound(table[:5])
