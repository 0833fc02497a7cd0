"""Rules between columns hold in draws, under any conditions and in imputations; probabilities still sum to 1."""

import numpy as np
import pandas as pd
import pytest

from backwalk import Diffusion
from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput, UnseenValuesWarning

RULES = ["low <= middle", "middle <= high", "all = some + rest", "log_w = log(w)", "kind -> grade"]


def make_table(n=400):
    generator = np.random.default_rng(0)
    low = generator.poisson(20, n)
    middle = low + np.where(generator.random(n) < 0.3, 0, generator.poisson(5, n))
    some, rest, w = generator.poisson(8, n), generator.poisson(30, n), np.exp(generator.normal(3.0, 0.4, n))
    kind = generator.choice(list("xyz"), n, p=[0.5, 0.3, 0.2])
    grade = np.where(kind == "x", "P", "Q")
    return pd.DataFrame(
        {
            "low": low,
            "middle": middle,
            "high": middle + generator.poisson(4, n),
            "some": some,
            "rest": rest,
            "all": some + rest,
            "w": w,
            "log_w": np.log(w),
            "kind": kind,
            "grade": grade,
        }
    )


TABLE = make_table()
SMALL = {"denoiser": Residual(width=16, n_blocks=1, n_members=1), "random_state": 0, "verbose": False}


def assert_rules_hold(rows):
    assert (rows["low"] <= rows["middle"]).all()
    assert (rows["middle"] <= rows["high"]).all()
    assert (rows["all"] == rows["some"] + rows["rest"]).all()
    np.testing.assert_allclose(rows["log_w"], np.log(rows["w"]), rtol=1e-7)
    assert set(zip(rows["kind"], rows["grade"], strict=True)) <= set(zip(TABLE["kind"], TABLE["grade"], strict=True))


@pytest.fixture(scope="module")
def model():
    return Diffusion(max_steps=5, rules=RULES, **SMALL).fit(TABLE)


@pytest.mark.slow
def test_rules_hold_in_new_rows_and_also_from_a_file(model, tmp_path):
    rows = model.sample(2000, random_state=1)
    assert_rules_hold(rows)
    model.save(tmp_path / "model.backwalk")
    loaded = Diffusion.load(tmp_path / "model.backwalk")
    pd.testing.assert_frame_equal(loaded.sample(50, random_state=1), rows[:50])


@pytest.mark.slow
def test_what_rules_determine_of_gaps_is_filled_by_the_rules_and_the_rest_obeys_them(model):
    generator = np.random.default_rng(3)
    whole = TABLE[:200].astype(dict.fromkeys(TABLE.columns[:8], float))
    gaps = whole.mask(generator.random(whole.shape) < 0.2)
    for filled in (model.impute(gaps, random_state=0), model.impute(gaps, statistic="mean")):
        assert_rules_hold(filled)
        pd.testing.assert_frame_equal(filled.where(gaps.notna()), gaps)
        at = gaps["all"].isna() & gaps["some"].notna() & gaps["rest"].notna()
        assert (filled["all"][at] == whole["all"][at]).all()
        at = gaps["log_w"].notna()
        np.testing.assert_allclose(filled["w"][at], whole["w"][at], rtol=1e-7)


def test_rows_that_break_a_rule_score_minus_infinity_and_are_told(model):
    rows = TABLE[:5].copy()
    rows.loc[0, "low"], rows.loc[1, "all"], rows.loc[2, "log_w"] = 99, 1, 9.0
    rows.loc[3, "grade"] = "P" if rows.loc[3, "kind"] != "x" else "Q"
    with pytest.warns(UnseenValuesWarning, match="low <= middle.*1 row"):
        scores = model.score_samples(rows)
    assert np.isneginf(scores[:4]).all()
    assert np.isfinite(scores[4])
    with pytest.raises(InvalidInput, match="low <= middle"):
        model.sample(3, given={"low": 30, "middle": 20})
    with pytest.raises(InvalidInput, match="kind -> grade"):
        model.sample(3, given={"kind": "x", "grade": "Q"})


@pytest.mark.slow
def test_a_label_that_the_fit_did_not_see_breaks_no_rule_and_counts_as_missing(model):
    given = pd.DataFrame({"kind": ["x", "w"], "grade": ["P", "P"]})
    with pytest.warns(UnseenValuesWarning, match="missing"):
        rows = model.sample(2, given=given, random_state=0)
    assert rows["grade"].tolist() == ["P", "P"]


def test_a_level_seen_only_beside_gaps_may_have_any_level_of_the_other_column():
    number = np.repeat([1.0, 2.0, 3.0, np.nan], 60)
    rows = pd.DataFrame({"name": np.repeat(["one", "two", "three", "none"], 60), "number": number})
    settings = {"columns": {"number": "levels"}, "rules": ["name -> number"], **SMALL}
    model = Diffusion(max_steps=2, **settings).fit(rows)
    drawn = model.sample(400, random_state=1)
    expected = drawn["name"].map({"one": 1.0, "two": 2.0, "three": 3.0})
    is_named = drawn["name"] != "none"
    assert is_named.sum() > 200
    assert (drawn["number"] == expected)[is_named].all()
    assert np.isfinite(model.score_samples(drawn)).all()  # fails if "none" beside a number broke a rule


@pytest.mark.slow
def test_the_mean_of_a_computed_number_lies_where_the_rule_allows(model):
    rows = TABLE[:20]
    of_total = model.conditional(rows, "all", given=["some"])
    assert (of_total.mean > rows["some"]).all()
    assert (model.conditional(rows, "middle", given=["low"]).quantile(0.01) >= rows["low"]).all()


@pytest.mark.slow
def test_densities_of_computed_numbers_are_those_of_the_numbers_they_are_computed_from():
    generator = np.random.default_rng(4)
    celsius, low = generator.normal(10.0, 8.0, size=(2, 300))
    table = pd.DataFrame({"celsius": celsius, "fahrenheit": 1.8 * celsius + 32.0, "low": low})
    table["high"] = low + generator.exponential(size=300)
    rules = ["fahrenheit = 1.8 * celsius + 32", "low <= high", "root = exp(celsius)"]
    table["root"] = np.exp(celsius)
    model = Diffusion(max_steps=5, rules=rules, conditions="any", **SMALL).fit(table)
    rows = table[:8]

    def density(*columns, given=()):
        return model.score_samples(rows[[*columns, *given]], given=given, columns=columns)

    np.testing.assert_allclose(density("fahrenheit"), density("celsius") - np.log(1.8), atol=1e-5)
    np.testing.assert_allclose(density("root"), density("celsius") - rows["celsius"], atol=1e-5)
    of_kept = np.log(model.model_.accepted_share)  # drawn rows whose computed values are out of range are drawn again
    np.testing.assert_allclose(model.score_samples(rows), density("celsius", "low", "high") - of_kept, atol=1e-5)


def test_a_declared_rule_that_rows_break_is_an_error_with_the_row():
    rows = TABLE[["low", "middle", "kind"]].copy()
    rows.loc[7, "middle"] = 0
    with pytest.raises(InvalidInput, match=r"low <= middle.*row 7"):
        Diffusion(max_steps=1, rules=["low <= middle"], **SMALL).fit(rows)
    with pytest.raises(InvalidInput, match="medium"):
        Diffusion(max_steps=1, rules=["low <= medium"], **SMALL).fit(rows)
    with pytest.raises(InvalidInput, match="kind"):
        Diffusion(max_steps=1, rules=["low <= kind"], **SMALL).fit(rows)
