"""Clock times HHMM, such as 930: minutes since midnight in the model, and HHMM to its user."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from backwalk import Diffusion
from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput
from backwalk.table import as_table, from_values, match_columns, read_table, write_table

MINUTES = np.arange(1_440)
HHMM = MINUTES // 60 * 100 + MINUTES % 60


def trips(n=400):
    """Trips with a planned and an actual time, the delay in minutes, and a gap."""
    rng = np.random.default_rng(0)
    planned = rng.integers(300, 1_300, n)
    delay = rng.poisson(12, n) - 5
    left = planned + delay
    table = pd.DataFrame({"planned": HHMM[planned], "left": HHMM[left], "delay": delay})
    table["back"] = HHMM[np.minimum(left + rng.integers(20, 100, n), 1_439)].astype(float)
    table.loc[3, "back"] = np.nan
    return table


KINDS = dict.fromkeys(["planned", "left", "back"], "clock")
SMALL = {"denoiser": Residual(16, 1), "max_steps": 10, "random_state": 0, "verbose": False}


@pytest.fixture(scope="module")
def model():
    return Diffusion(columns=KINDS, **SMALL).fit(trips())


def is_possible(clock):
    clock = np.asarray(clock, dtype=float)
    clock = clock[~np.isnan(clock)]
    return bool(((clock >= 0) & (clock <= 2_359) & (clock % 100 <= 59) & (clock % 1 == 0)).all())


@pytest.mark.parametrize(
    "rows",
    [
        HHMM[:, None].astype(float),
        pd.DataFrame({"left": HHMM}),
        pd.DataFrame({"left": HHMM.astype("int16")}),
        pd.DataFrame({"left": HHMM.astype(float)}),
        pd.DataFrame({"left": pd.Series(HHMM, dtype="Int64")}),
        pl.DataFrame({"left": HHMM}),
        pa.table({"left": HHMM}),
    ],
    ids=["array", "int64", "int16", "float64", "Int64", "polars", "pyarrow"],
)
def test_all_times_of_a_day_come_back_in_their_type_and_through_files(rows, tmp_path):
    plain = as_table(rows)
    clock = match_columns(plain, plain.schema.with_clocks([0]))
    np.testing.assert_array_equal(clock.values[:, 0], MINUTES)
    back = from_values(clock.values, clock.schema)
    assert type(back) is type(rows)
    again = as_table(back)
    assert again.schema == plain.schema
    np.testing.assert_array_equal(again.values, plain.values)
    for name in ("clock.csv", "clock.parquet"):
        write_table(tmp_path / name, clock)
        read = read_table(tmp_path / name)
        assert str(read.schema.types[0]) == "int64"
        np.testing.assert_array_equal(read.values, plain.values)
    assert type(clock.schema).from_dict(clock.schema.to_dict()) == clock.schema


def test_the_delay_is_found_as_the_difference_and_no_draw_is_impossible(model):
    assert [str(rule) for rule in model.rules_] == ["left = planned + delay", "left <= back"]
    rows = model.sample(300, random_state=1)
    assert all(is_possible(rows[name]) for name in KINDS)
    assert (rows.dtypes[["planned", "left"]] == "int64").all()
    minutes = rows // 100 * 60 + rows % 100
    assert (minutes["left"] == minutes["planned"] + rows["delay"]).all()
    assert model.columns_["left"] == "clock"


def test_conditions_ranges_and_gaps_are_clock_times(model):
    rows = model.sample(60, given={"planned": 959, "left": (1000, 1030)}, random_state=1)
    assert (rows["planned"] == 959).all()
    assert rows["left"].between(1000, 1030).all()
    np.testing.assert_array_equal(rows["delay"], rows["left"] - 1000 + 1)
    filled = model.impute(trips()[:8], random_state=1)
    pd.testing.assert_frame_equal(filled.drop(index=3), trips()[:8].drop(index=3))
    assert is_possible(filled["back"])
    for wrong in (1275, "1275", 2400, -1, 930.5):
        with pytest.raises(InvalidInput, match="clock times HHMM"):
            model.sample(1, given={"left": wrong})


def test_draws_and_scores_are_those_of_times_of_day():
    def time_of_day(clock):
        return pa.array((60 * (clock // 100 * 60 + clock % 100)).to_numpy().astype("int32"), pa.time32("s"))

    table = trips()[["planned", "back"]].dropna().astype(int)
    clock = Diffusion(columns={"planned": "clock", "back": "clock"}, **SMALL).fit(table)
    times = {name: time_of_day(table[name]) for name in table}
    timed = Diffusion(**SMALL).fit(pa.table(times))
    drawn = clock.sample(20, random_state=1)
    assert timed.sample(20, random_state=1) == pa.table({name: time_of_day(drawn[name]) for name in drawn})
    # Densities are per second there, and probabilities of a minute here.
    of_clock, of_times = (
        clock.log_density(table[:9], n_intervals=2),
        timed.log_density(pa.table(times)[:9], n_intervals=2),
    )
    np.testing.assert_allclose(of_clock.log_prob - of_times.log_prob, 2.0 * np.log(60.0), rtol=1e-6)


def test_a_file_of_a_model_has_its_clock_times(model, tmp_path):
    model.save(tmp_path / "clock.backwalk")
    again = Diffusion.load(tmp_path / "clock.backwalk")
    one, other = (each.log_density(trips()[4:9], n_intervals=2).log_prob for each in (model, again))
    assert one.isfinite().all()
    assert one.equal(other)
    pd.testing.assert_frame_equal(again.sample(5, random_state=2), model.sample(5, random_state=2))


def test_a_file_is_fitted_as_its_rows_are(model, tmp_path):
    table = trips().astype({"back": "Int64"})
    table.to_csv(tmp_path / "trips.csv", index=False)
    of_file = Diffusion(columns=KINDS, **SMALL).fit(tmp_path / "trips.csv")
    drawn = of_file.sample(9, random_state=2)
    pd.testing.assert_frame_equal(drawn.to_pandas(), model.sample(9, random_state=2), check_dtype=False)
    assert str(drawn["back"].type) == "int64"


@pytest.mark.parametrize("value", [1275, 2400, -1, 930.5])
def test_a_value_that_is_no_clock_time_is_refused_with_its_row(value, tmp_path):
    table = trips().astype({"left": float})
    table.loc[7, "left"] = value
    table.to_csv(tmp_path / "trips.csv", index=False)
    for rows in (table, tmp_path / "trips.csv"):
        with pytest.raises(InvalidInput, match=f"'left'.*{value}.* at row 7 .*midnight is 0"):
            Diffusion(columns=KINDS, verbose=False).fit(rows)
    with pytest.raises(InvalidInput, match="HHMM, as its kind is clock"):
        Diffusion(columns={"left": "clock"}, verbose=False).fit(table.astype(str))
