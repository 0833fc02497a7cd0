"""Kinds of columns follow from the data, and from what a user asks for."""

import numpy as np
import pandas as pd
import pytest

from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table import Codec, Levels, Number, NumberColumn, Order, as_table, fit_codec, refit_codec

N = 900
RNG = np.random.default_rng(11)
NORMAL = RNG.normal(size=N)
TABLE = pd.DataFrame(
    {
        "flag": RNG.random(N) < 0.3,
        "side": np.where(RNG.random(N) < 0.5, -1.0, 1.0),
        "rating": RNG.integers(1, 6, N),
        "gain": RNG.choice([0, 114, 7298, 7299, 99_999], N, p=[0.9, 0.03, 0.03, 0.02, 0.02]),
        "rain": np.where(RNG.random(N) < 0.4, 0.0, RNG.exponential(size=N)),
        "capped": np.where(np.abs(NORMAL) > 1.5, 1.5 * np.sign(NORMAL), NORMAL),
        "length": np.round(40.0 + 3.0 * RNG.normal(size=N), 0) / 10.0,
        "mass": 25.0 * np.rint(260.0 + 45.0 * RNG.normal(size=N)),
        "weight": RNG.integers(10_000, 1_000_000, N),
        "plain": RNG.normal(size=N),
        "tailed": RNG.standard_cauchy(N),
        "constant": np.full(N, 3),
    }
)


def kinds(codec, names=TABLE.columns):
    return {name: column.kind_name for name, column in zip(names, codec.columns, strict=True)}


def test_kinds_follow_from_the_data():
    codec = fit_codec(as_table(TABLE))
    of = dict(zip(TABLE.columns, codec.columns, strict=True))
    assert kinds(codec) == {
        **dict.fromkeys(("flag", "side", "rating", "gain", "length"), "levels"),
        **dict.fromkeys(("rain", "capped"), "atoms"),
        "mass": "rounded",
        "weight": "integer",
        "plain": "number",
        "tailed": "heavy-tailed",
        "constant": "constant",
    }
    coding = {name: of[name].coding for name in ("flag", "side", "rating", "gain", "length")}
    assert coding == {"flag": "one-hot", "side": "one-hot", "rating": "ordered", "gain": "ordered", "length": "ordered"}
    assert (of["rain"].atoms, of["capped"].atoms) == ((0.0,), (-1.5, 1.5))
    assert of["rain"].frequencies[0] == pytest.approx((TABLE["rain"] == 0.0).mean(), rel=1e-12)
    np.testing.assert_allclose(of["rating"].frequencies, np.bincount(TABLE["rating"])[1:] / N, rtol=1e-12)
    values = as_table(TABLE).values
    rows = codec.decode(codec.encode(values, stream=Stream(0)))
    exact = [j for j, name in enumerate(TABLE.columns) if name not in ("plain", "tailed", "rain", "capped")]
    np.testing.assert_array_equal(rows[:, exact], values[:, exact])
    np.testing.assert_allclose(rows, values, rtol=1e-9, atol=1e-9)
    assert codec.supports(values).all()


def test_arrays_are_on_a_continuous_scale():
    numbers = as_table(TABLE).values
    found = fit_codec(as_table(numbers))
    assert {column.kind_name for column in found.columns} == {"number", "heavy-tailed", "constant"}
    assert found.within_range(1e6 + numbers)[0, 9] == 1e6 + numbers[0, 9]


def test_numbers_on_a_short_grid_have_a_level_for_each_of_its_places():
    """Counts, ages and names alike, whether all values were seen or not; where few repeat, numbers stay numbers."""
    for x in (RNG.poisson(30.0, 3000), np.rint(20.0 + 5.0 * RNG.normal(size=3000)), RNG.integers(0, 500, 5000)):
        column = fit_codec(as_table(pd.DataFrame({"x": x}))).columns[0]
        np.testing.assert_array_equal(column.values, np.arange(x.min(), x.max() + 1))
        assert min(column.frequencies) > 0.0
    long = pd.DataFrame({"x": RNG.integers(0, 3000, 900)})
    assert fit_codec(as_table(long)).columns[0].kind_name == "integer"
    alone = pd.DataFrame({"x": RNG.permutation(900)[:300]})  # no value repeats
    assert fit_codec(as_table(alone)).columns[0].kind_name == "integer"
    few = pd.DataFrame({"x": RNG.integers(0, 500, 900)})  # one row in six has a value of its own
    assert fit_codec(as_table(few)).columns[0].kind_name == "integer"
    two = pd.DataFrame({"x": [0.5, 2.5, 0.5, 0.5]})
    assert fit_codec(as_table(two)).columns[0].coding == "one-hot"


def test_numbers_on_a_long_grid_with_few_values_of_one_row_have_a_probability_for_others():
    """New rows have values never seen about as often as rows have values seen once, and levels would give them none."""
    repeated, once = np.repeat(1000.0 * np.arange(15.0), 50), np.array([333.0, 777.0, 4001.0, 20_000.0])
    column = fit_codec(as_table(pd.DataFrame({"x": repeated}))).columns[0]
    assert column.levels == tuple(np.unique(repeated))
    column = fit_codec(as_table(pd.DataFrame({"x": [*repeated, *once]}))).columns[0]
    assert column.atoms == tuple(np.unique(repeated))
    assert column.frequencies[-1] == pytest.approx(4 / 754)
    assert column.supports(np.array([1000.0, 1000.5, 777.0, 778.0]), None).tolist() == [True, False, True, True]


@pytest.mark.parametrize("n_rare", [1, 2, 5])
@pytest.mark.parametrize("step", [1.0, np.pi])
@pytest.mark.parametrize("n_values", [3, 60])
def test_a_few_rows_of_many_may_have_a_value_of_their_own(n_rare, step, n_values):
    """The distances of flights, of which one was flown once: a random part of the rows may have none of these."""
    rng = np.random.default_rng(0)
    values = step * rng.choice(5_000, n_values + n_rare, replace=False)
    x = np.append(values[np.arange(12_000) % n_values], values[n_values:])
    table = as_table(pd.DataFrame({"distance": x, "other": rng.normal(size=len(x))}))
    codec = fit_codec(table)
    np.testing.assert_allclose(codec.decode(codec.encode(table.values)), table.values, rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"rare": Number(bounds=(0, 10))}, {"rare": "number"}])
def test_two_rows_of_many_may_be_all_that_have_a_value(options):
    table = pd.DataFrame({"rare": np.nan, "other": np.random.default_rng(0).normal(size=12_000)})
    table.loc[[7, 8_000], "rare"] = [1.5, np.pi]
    codec = fit_codec(as_table(table), columns=options)
    assert codec.encode(as_table(table).values).shape[0] == 12_000


def test_numbers_of_many_decimals_have_no_steps():
    rates = pd.DataFrame({"x": RNG.random(400).round(9), "y": RNG.random(400).round(6)})
    assert [column.kind_name for column in fit_codec(as_table(rates)).columns] == ["number", "rounded"]


def test_rounded_numbers_come_back_with_their_decimals():
    rows = pd.DataFrame({"mm": np.round(RNG.normal(45.0, 0.5, 500), 1), "g": 25.0 * RNG.integers(100, 240, 500)})
    table = as_table(rows)
    codec = fit_codec(table, columns=dict.fromkeys(rows, "number"))
    # A step of .1 is a fifth of a standard deviation; one of 25 a fortieth, finer than a model resolves.
    assert [column.dequantisation for column in codec.columns] == [0.0, None]
    assert (codec.n_uniforms, [column.cell_width for column in codec.columns]) == (1, [0.1, 25.0])
    new = codec.within_range(codec.decode(3.0 * Stream(1).normal(0, 4000, 2).numpy()))
    assert set(new[:, 0]) <= {round(40.0 + 0.1 * i, 1) for i in range(101)}
    assert (new[:, 1] % 25.0 == 0.0).all()
    assert (new.min(axis=0) == rows.min()).all()
    assert (new.max(axis=0) == rows.max()).all()
    decoded = codec.decode(codec.encode(table.values, stream=Stream(2)))
    np.testing.assert_array_equal(codec.within_range(decoded), table.values)
    np.testing.assert_array_equal(codec.supports([[45.15, 2512.5]]), [[False, False]])
    assert "in steps of 0.1" in codec.columns[0].description


def test_new_values_of_a_table_keep_the_range_of_its_rows():
    lengths = pd.DataFrame({"x": RNG.exponential(size=500), "y": np.exp(3.0 * RNG.normal(size=500))})
    codec = fit_codec(as_table(lengths))
    rows = codec.decode(5.0 * Stream(4).normal(0, 2000, 2).numpy())
    kept = codec.within_range(rows)
    assert (kept >= lengths.min().to_numpy()).all()
    assert (kept <= lengths.max().to_numpy()).all()
    beyond = (rows < lengths.min().to_numpy()) | (rows > lengths.max().to_numpy())
    assert beyond.any(axis=0).all()
    np.testing.assert_array_equal(kept[~beyond], rows[~beyond])
    low = lengths["x"].min()
    np.testing.assert_allclose(codec.within_range(np.array([[low - 0.1, 1.0]]))[0, 0], low + 0.1)


def test_bounds_are_set_and_released():
    share = pd.DataFrame({"x": np.array([0.2, 1.0 / 3.0, 0.9]), "y": [1.0, 2.0, 4.0]})
    codec = fit_codec(as_table(share), columns={"x": Number(bounds=(0.0, 1.0)), "y": Number(bounds=(None, None))})
    kept = codec.within_range(np.array([[-0.1, -5.0], [1.25, 9.0]]))
    np.testing.assert_allclose(kept, [[0.1, -5.0], [0.75, 9.0]])
    array = fit_codec(as_table(share.to_numpy()), columns={"x1": Number(bounds=(0.0, None))})
    np.testing.assert_allclose(array.within_range(np.array([[-0.1, -5.0]])), [[0.1, -5.0]])
    rounded = fit_codec(as_table(pd.DataFrame({"x": [1.0, 2.0, 4.0, 9.0]})), columns={"x": Number(bounds=(0.5, 9.5))})
    assert (rounded.columns[0].least, rounded.columns[0].largest) == (1.0, 9.0)
    with pytest.raises(InvalidInput, match=r"'x'.*0\.0 and 0\.5.*0\.9"):
        fit_codec(as_table(share), columns={"x": Number(bounds=(0.0, 0.5))})
    for bounds in ((1.0, 0.0), (0.0,), "ab", (float("nan"), 1.0), 3):
        with pytest.raises(InvalidInput, match="bounds"):
            Number(bounds=bounds)


def test_a_user_chooses_kinds():
    chosen = {
        "constant": "constant",
        "rating": "number",
        "weight": "integer",
        "plain": Number(),
        "rain": "number",
        "flag": "integer",
    }
    of = dict(zip(TABLE.columns, fit_codec(as_table(TABLE), columns=chosen).columns, strict=True))
    kinds = {name: of[name].kind_name for name in chosen}
    assert kinds == {
        "constant": "constant",
        "rating": "integer",
        "weight": "integer",
        "plain": "number",
        "rain": "number",
        "flag": "integer",
    }
    ordered = fit_codec(as_table(TABLE), columns={"rating": Levels(order=[5, 1, 2, 4, 3])}).columns[2]
    assert (ordered.coding, ordered.values) == ("ordered", (5.0, 1.0, 2.0, 4.0, 3.0))
    codec = Codec((ordered,))
    z = codec.encode([[5.0], [1.0], [3.0]])
    assert (np.diff(z[:, 0]) > 0.0).all()
    np.testing.assert_array_equal(codec.decode(z), [[5.0], [1.0], [3.0]])
    many = fit_codec(as_table(TABLE), columns={"weight": "levels"}).columns[8]
    assert (many.kind_name, many.n_levels) == ("levels", TABLE["weight"].nunique())


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"age": "number"}, "'age'.*'flag'"),
        ({"plain": "text"}, "'plain'.*number, integer, levels, constant.*'text'"),
        ({"plain": ["number"]}, "'plain'"),
        ({"plain": "integer"}, "'plain' should hold integers"),
        ({"length": "integer"}, "'length' should hold integers"),
        ({"rating": "constant"}, "'rating' has 1 and 5"),
        ({"rating": Levels(order=[1, 2, 3, 5])}, r"'rating', but lacks 4\.0"),
        (["number"], "mapping"),
    ],
    ids=str,
)
def test_kinds_that_do_not_fit_are_refused_by_name(columns, words):
    with pytest.raises(InvalidInput, match=words):
        fit_codec(as_table(TABLE[["flag", "rating", "length", "plain"]]), columns=columns)


@pytest.mark.parametrize("order", ["abc", 3, [1, 1]])
def test_an_order_that_is_none_is_refused(order):
    with pytest.raises(InvalidInput, match="order"):
        Levels(order=order)


GAPS = TABLE.astype(float).mask(RNG.random(TABLE.shape) < 0.1)


def test_gaps_do_not_count():
    codec = fit_codec(as_table(GAPS))
    assert kinds(codec) == kinds(fit_codec(as_table(TABLE)))
    for j in (9, 10):
        observed = GAPS.iloc[:, [j]].dropna()
        alone = fit_codec(as_table(observed)).columns[0]
        for name in ("centre", "scale", "least", "largest"):
            assert getattr(codec.columns[j], name) == pytest.approx(getattr(alone, name), rel=1e-12)
        assert codec.columns[j].asinh == alone.asinh  # the quartiles are those of the same rows
    values = as_table(GAPS).values
    z = codec.encode(values, stream=Stream(0))
    decoded = codec.decode(z)
    np.testing.assert_allclose(decoded[:, :-1], values[:, :-1], rtol=1e-9, atol=1e-9)
    assert (decoded[:, -1] == 3.0).all()
    assert codec.supports(values).all()
    assert np.isfinite(codec.log_abs_det_jacobian(values)).all()
    assert np.isfinite(codec.log_dequantisation(values, values)).all()
    np.testing.assert_array_equal(codec.within_range(values), values)
    assert refit_codec(codec, as_table(GAPS)) == codec


def test_gaps_can_be_generated():
    codec = fit_codec(as_table(GAPS), missing="generate")
    assert [column.kind_name for column in codec.columns] == ["levels"] * 4 + ["atoms", "atoms", "levels"] + [
        "atoms",
        "atoms",
        "atoms",
        "atoms",
        "levels",
    ]
    values = as_table(GAPS).values
    np.testing.assert_allclose(codec.decode(codec.encode(values)), values, rtol=1e-9, atol=1e-9)
    for block, share in zip(codec.blocks, np.isnan(values).mean(axis=0), strict=True):
        at = np.isnan(block.values)
        if block.number is not None:
            at[block.other] = False
        assert block.frequencies[at] == pytest.approx(share)
    with pytest.raises(InvalidInput, match=r"missing.*'drop'"):
        fit_codec(as_table(GAPS), missing="drop")


def test_a_column_without_values_is_refused_by_name():
    with pytest.raises(InvalidInput, match="'b' has none"):
        fit_codec(as_table(pd.DataFrame({"a": [1.0, 2.0], "b": [np.nan, np.nan]})))


def test_weights_are_those_of_rows_given_several_times():
    rows = pd.DataFrame({"x": RNG.normal(size=300), "k": RNG.integers(0, 3, 300), "y": RNG.standard_cauchy(300)})
    rows["r"] = np.where(np.arange(300) % 3 == 0, 0.0, rows["x"])
    times = RNG.integers(0, 4, 300)
    weighed = fit_codec(as_table(rows), weights=times)
    repeated = fit_codec(as_table(rows.loc[np.repeat(np.arange(300), times)]))
    assert [column.kind_name for column in weighed.columns] == ["number", "levels", "heavy-tailed", "atoms"]
    np.testing.assert_allclose(weighed.columns[1].frequencies, repeated.columns[1].frequencies, rtol=1e-12)
    np.testing.assert_allclose(weighed.columns[3].frequencies, repeated.columns[3].frequencies, rtol=1e-12)
    numbers = [(each.columns[0], each.columns[3].number) for each in (weighed, repeated)]
    for one, other in zip(*numbers, strict=True):
        assert (one.centre, one.scale) == pytest.approx((other.centre, other.scale), rel=1e-9)
    for weights in (np.ones(299), -np.ones(300), np.zeros(300), np.full(300, np.nan)):
        with pytest.raises(InvalidInput, match="weights"):
            fit_codec(as_table(rows), weights=weights)


def test_texts_and_truth_values_have_levels():
    grades = pd.Categorical(["lo", "hi", "mid", "lo"] * 30, categories=["lo", "mid", "hi", "never"], ordered=True)
    rows = pd.DataFrame(
        {
            "site": ["a", "b", "a", "c"] * 30,
            "grade": grades,
            "flag": pd.array([True, None, False, True] * 30, dtype="boolean"),
            "week": pd.date_range("2020-01-01", periods=120, freq="7D"),
            "id": [f"{i:03}" for i in range(120)],
        }
    )
    table = as_table(rows)
    site, grade, flag, week, many = fit_codec(table).columns
    assert (site.coding, grade.coding, flag.coding, many.coding) == ("one-hot", "ordered", "one-hot", "random")
    assert (grade.values, grade.frequencies) == ((0.0, 1.0, 2.0), (0.5, 0.25, 0.25))
    assert week.cell_width == 7.0
    with_gaps = fit_codec(table, missing="generate")
    assert with_gaps.columns[2].values[:2] == (0.0, 1.0)
    assert np.isnan(with_gaps.columns[2].values[2])
    np.testing.assert_allclose(with_gaps.decode(with_gaps.encode(table.values)), table.values)
    ordered = fit_codec(table, columns={"site": Levels(order=["c", "a", "b"])}).columns[0]
    assert (ordered.values, ordered.coding) == ((2.0, 0.0, 1.0), "ordered")
    with pytest.raises(InvalidInput, match="'site', but lacks 'c'"):
        fit_codec(table, columns={"site": Levels(order=["a", "b"])})
    with pytest.raises(InvalidInput, match="'site' holds texts"):
        fit_codec(table, columns={"site": "number"})
    one = as_table(rows.assign(site="a"))
    assert fit_codec(one, columns={"site": "constant"}, rules="auto").columns[0].kind_name == "constant"
    with pytest.raises(InvalidInput, match="'site' has 0 and 2"):
        fit_codec(table, columns={"site": "constant"})


def test_numbers_that_are_always_given_are_numbers_without_levels_and_atoms_of_any_value():
    names = list(TABLE.columns)
    codec = fit_codec(as_table(TABLE), given=range(len(names)), columns={"gain": "levels"}, missing="generate")
    of = dict(zip(names, codec.columns, strict=True))
    assert (of["flag"].kind_name, of["gain"].kind_name, of["constant"].kind_name) == ("levels", "levels", "constant")
    assert [names[block.column] for block in codec.blocks] == ["flag", "gain"]
    numbers = [name for name in names if name not in ("flag", "gain", "constant")]
    x = np.array([-3.21, 0.5, 1e4])
    for name in numbers:
        assert of[name].supports(x, "float64").all()
        np.testing.assert_allclose(of[name].chain.decode(of[name].encode(x)[:, 0]), x, rtol=1e-6)  # as it is
    assert codec.redraw(as_table(TABLE).values) is None  # nothing is dequantised
    drawn = of["rating"].within_range(of["rating"].decode(3.0 * RNG.normal(size=(99, 1))))
    assert set(drawn) == {1.0, 2.0, 3.0, 4.0, 5.0}  # draws of whole rows are rounded


def test_the_gap_between_two_given_columns_is_given():
    low = RNG.integers(0, 5, N).astype(float)
    table = as_table(pd.DataFrame({"low": low, "high": low + RNG.integers(0, 3, N), "theta": NORMAL}))
    rules = [Order("low", "high")]
    assert len(fit_codec(table, rules=rules, given=[0, 1]).blocks) == 0 < len(fit_codec(table, rules=rules).blocks)


@pytest.mark.parametrize("heavy", [2.0, 50.0, 1e6])
def test_a_heavy_row_is_no_value_that_many_rows_share(heavy):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"x": rng.normal(size=600), "y": np.round(rng.gamma(2.0, size=600), 3)})
    weights = np.where(np.arange(600) == 7, heavy, 1.0)
    for column in fit_codec(as_table(rows), weights=weights).columns:
        assert isinstance(column, NumberColumn)


def test_maps_through_quantiles_are_those_of_the_weighted_rows():
    """Rows that are mostly uniform on 0..1, by weights those above .5 alone: the median of the map is near .75."""
    x = pd.DataFrame({"x": np.random.default_rng(0).uniform(size=4000)})
    weights = np.where(x["x"] > 0.5, 1.0, 1e-6)
    (column,) = fit_codec(as_table(x), weights=weights, columns={"x": Number(map=True)}).columns
    assert column.spline is not None
    assert column.decode(np.zeros((1, 1)))[0] == pytest.approx(0.75, abs=0.03)
