"""Arrays and tables in memory: what cannot be fitted is refused at once, what can gives the same as its copy."""

import datetime
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backwalk import InvalidInput, SamplingDiverged, TrainingDiverged
from backwalk.table import as_table, fit_codec
from soak.material import estimator, fitted, rows

RNG = np.random.default_rng(0)
FIT, SCORES = "fit", ("score_samples", "bound", "to_latent", "interpolate")
OF_THE_FIT = (*SCORES, "from_latent")  # a fit learns from gaps and texts; a model of complete numbers refuses them
ALL = (FIT, *OF_THE_FIT)


def _never(progress):
    raise AssertionError("training began")


ENTRIES = {
    FIT: lambda X: estimator(callbacks=[_never]).fit(X),
    "score_samples": lambda X: fitted().score_samples(X),
    "bound": lambda X: fitted().bound(X),
    "to_latent": lambda X: fitted().to_latent(X),
    "from_latent": lambda X: fitted().from_latent(X),
    "interpolate": lambda X: fitted().interpolate(X, rows()[:1]),
}


def _with(value, dtype=float):
    X = rows()[:20].astype(dtype)
    X[RNG.integers(len(X)), RNG.integers(3)] = value
    return X


BAD = [  # an array, words of the error, and the functions that refuse it
    (_with(np.inf), "inf row column", ALL),
    (_with(-np.inf), "-inf row column", ALL),
    (_with(np.inf, np.float16), "inf row column", ALL),
    (_with({}, object), "row column", ALL),
    (_with(1j, object), "row column", ALL),
    (_with(10**400, object), "row column", ALL),
    (np.empty((0, 3)), "0 sample", ALL),
    (np.empty((5, 0)), "0 feature", ALL),
    (RNG.normal(size=5), "2D", ALL),
    (RNG.normal(size=(3, 3, 3)), "dim 3", ALL),
    (np.float64(3.0), "2D", ALL),
    (RNG.normal(size=(5, 3)) * 1j, "Complex", ALL),
    (scipy.sparse.csr_matrix(RNG.normal(size=(5, 3))), "sparse", ALL),
    (np.array([[b"a", b"b", b"c"]] * 4), "dtype", ALL),
    ([[1.0, 2.0, 3.0], [1.0, 2.0]], "rows", ALL),
    (b"text", "numbers", ALL),
    (None, "numbers", ALL),
    (pd.DataFrame({"a": [1.0, 2.0], "b": [["x"], ["y"]], "c": [1.0, 2.0]}), "'b'", ALL),
    (pd.DataFrame({"a": pd.Categorical(["u", 1]), "b": [1.0, 2.0], "c": [1.0, 2.0]}), "'a'", ALL),
    (_with(np.nan), "NaN row column", OF_THE_FIT),
    (_with(np.nan, np.float32), "NaN row column", OF_THE_FIT),
    (_with("text", object), "'text' row column", OF_THE_FIT),
    (_with(None, object), "row column", OF_THE_FIT),
    (np.ma.masked_less(RNG.normal(size=(9, 3)), 0.5), "NaN row", OF_THE_FIT),
    (np.array([["a", "b", "c"]] * 4), "numbers", OF_THE_FIT),
    (np.array([["2020-01-01"] * 3] * 4, dtype="datetime64[D]"), "numbers", OF_THE_FIT),
    (RNG.normal(size=(1, 3)), "2 rows 1 sample", (FIT,)),
    (np.ones((9, 3)), "constant", (FIT,)),
    (RNG.normal(size=(5, 2)), "2 features 3", SCORES),
    (RNG.normal(size=(5, 4)), "4 features 3", SCORES),
    (RNG.normal(size=(5, 3)), "shape 2 3", ("from_latent",)),
    (np.full((5, 2), 1e7), "1e+06 1e+07", ("from_latent",)),
    (RNG.normal(size=(2, 3)) + np.array([0.0, 9.0, 0.0]), "constant", ("bound", "to_latent", "interpolate")),
    (rows()[:2], "equally many 2 1", ("interpolate",)),
    (1e300 * rows()[:4], "row 0", ("score_samples",)),
]


@pytest.mark.parametrize(("which", "entry"), [(i, entry) for i, (_, _, names) in enumerate(BAD) for entry in names])
def test_what_cannot_be_used_is_refused_in_one_line_and_unchanged(which, entry):
    X, words, _ = BAD[which]
    before = X.tobytes() if isinstance(X, np.ndarray) and X.dtype != object else None
    with pytest.raises(ValueError, match=r"\S") as error:
        ENTRIES[entry](X)
    assert all(word in str(error.value) for word in words.split()), str(error.value)
    assert "\n" not in str(error.value)
    assert before is None or X.tobytes() == before


_FLOATS = st.one_of(
    st.floats(width=64),
    st.floats(-1e3, 1e3),
    st.sampled_from([0.0, -0.0, 1e30, 1e-30, 1e308, -1e308, 5e-324, 1e-300, 1.0, np.nan, np.inf]),
)
_SHAPES = st.tuples(st.integers(0, 6), st.integers(0, 4))
ARRAYS = st.one_of(
    hnp.arrays(np.float64, _SHAPES, elements=_FLOATS),
    hnp.arrays(np.float64, _SHAPES, elements=st.floats(-1e6, 1e6)),
    hnp.arrays(st.sampled_from([np.float32, np.float16, np.int8, np.uint64, np.int64, np.bool_]), _SHAPES),
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=4), elements=st.floats(-1, 1)),
)
THREE_COLUMNS = st.one_of(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=_FLOATS),
    hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=st.sampled_from([7.25, 0.5, 3.0, -1.0])),
    hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(2)), elements=st.floats(-4.0, 4.0)),
)


@given(ARRAYS)
def test_arrays_are_refused_or_come_back_from_their_codes(X):
    before = X.tobytes()
    try:
        table = as_table(X)
        codec = fit_codec(table)
        z = codec.encode(table.values)
    except ValueError as error:
        assert isinstance(error, InvalidInput)
        if X.dtype.kind == "f" and np.isinf(X.astype(np.float64)).any():
            assert "row" in str(error), str(error)
    else:
        back = codec.decode(z)
        assert (np.isfinite(z) == codec.expand_mask(table.observed)).all()
        values = np.where(table.observed, table.values, back)
        constant = [j for j in range(X.shape[1]) if codec.columns[j].width == 0]
        assert (back[:, constant] == values[:, constant]).all()
        largest = np.nan_to_num(np.abs(values)).max(axis=0).clip(min=1e-300)
        np.testing.assert_allclose(back / largest, values / largest, rtol=1e-9, atol=1e-12)
    assert X.tobytes() == before


def _fitted_and_drawn(X):
    try:
        return estimator(max_steps=1, n_steps=3).fit(X).sample(3, random_state=0, n_evaluations=2)
    except (TrainingDiverged, SamplingDiverged):
        return 0.0


ANSWERS = {
    **ENTRIES,
    FIT: _fitted_and_drawn,
    "bound": lambda X: fitted().bound(X, random_state=0).per_row.numpy(),
    "interpolate": lambda X: fitted().interpolate(X, X, n=3),
}


@given(st.sampled_from(list(ANSWERS)), ARRAYS | THREE_COLUMNS)
def test_every_entry_gives_numbers_or_our_error(entry, X):
    before = X.tobytes()
    try:
        answer = ANSWERS[entry](X)
    except ValueError as error:
        assert isinstance(error, InvalidInput), f"{type(error).__name__}: {error}"
        assert "\n" not in str(error)
    else:
        assert not np.isnan(answer).any()
    assert X.tobytes() == before


ODD = [
    lambda X: X * 1e30,
    lambda X: X * 1e-30,
    lambda X: X * 10.0 ** np.array([-30.0, 12.0, 29.0]),
    lambda X: np.column_stack([X[:, 0], np.full(len(X), 1 / 3), X[:, 2]]),
    lambda X: X[:, [0, 0, 2]],
    lambda X: np.repeat(X[:20], 8, axis=0),
    lambda X: X.astype(np.float16),
    lambda X: X.astype(np.float32),
    lambda X: np.rint(10 * X).astype(np.int64),
    lambda X: np.rint(10 * np.abs(X)).astype(np.uint8),
    lambda X: np.greater(X, X.mean(axis=0)),
    lambda X: np.asfortranarray(X),
    lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    lambda X: X[::-1, ::-1],
]


@pytest.mark.cases(short=14, full=70)
def test_unusual_arrays_give_the_rows_of_their_float64_copy(case):
    rng = np.random.default_rng(case)
    X = ODD[case % len(ODD)](rng.normal(size=(int(rng.integers(30, 120)), 3)) + np.array([1.0, 0.0, 5.0]))
    X.flags.writeable = False
    before, copy = X.tobytes(), np.array(X, dtype=np.float64, order="C")
    samples, expected = (estimator(max_steps=2).fit(rows).sample(20, random_state=0) for rows in (X, copy))
    assert np.isfinite(samples).all()
    assert X.tobytes() == before
    np.testing.assert_array_equal(samples, expected.astype(samples.dtype))
    for j in np.flatnonzero(copy.min(axis=0) == copy.max(axis=0)):
        assert (expected[:, j] == copy[0, j]).all()


NAMES = ("length", "count", "fixed")
DATA = {"length": rows()[:, 0], "count": np.arange(300) % 7, "fixed": rows()[:, 1]}
KINDS = [pd.DataFrame, pl.DataFrame, pa.table]


@cache
def _model(kind):
    return estimator(max_steps=2).fit(kind(DATA))


def _columns_of(n_rows):
    numbers = st.one_of(
        hnp.arrays(np.float64, n_rows, elements=st.floats(-10.0, 10.0)),
        hnp.arrays(st.sampled_from([np.float32, np.int8, np.int64, np.uint16]), n_rows, elements=st.integers(0, 9)),
        hnp.arrays(np.float64, n_rows, elements=st.sampled_from([1.0, np.nan, np.inf])),
        st.just(np.full(n_rows, 7.25)),
    )
    names = st.one_of(
        st.permutations(NAMES),
        st.permutations([*NAMES, "more"]),
        st.lists(st.sampled_from([*NAMES, "Length", "count ", "größe", "x"]), min_size=1, max_size=4, unique=True),
    )
    return names.flatmap(lambda chosen: st.fixed_dictionaries(dict.fromkeys(chosen, numbers)))


@given(st.sampled_from(KINDS), st.integers(1, 4).flatmap(_columns_of))
def test_tables_are_scored_by_their_names_or_refused(kind, columns):
    model, is_finite = _model(kind), all(np.isfinite(values).all() for values in columns.values())
    try:
        scores = model.score_samples(kind(columns))
    except InvalidInput as error:
        assert set(columns) != set(NAMES) or not is_finite, str(error)
        assert "\n" not in str(error)
    else:
        assert set(columns) == set(NAMES)
        ordered = np.column_stack([np.asarray(columns[name], dtype=np.float64) for name in NAMES])
        np.testing.assert_array_equal(scores, model.score_samples(pd.DataFrame(ordered, columns=NAMES)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", ["missing", "extra", "renamed", "twice", "text", "date", "lists"])
def test_a_wrong_column_is_named(kind, fault):
    few = {name: values[:5] for name, values in DATA.items()}
    name = "further" if fault == "extra" else "count"
    changed = {
        "missing": lambda: {each: few[each] for each in NAMES if each != name},
        "extra": lambda: {**few, name: np.zeros(5)},
        "renamed": lambda: {f"{each} " if each == name else each: few[each] for each in NAMES},
        "twice": lambda: few,
        "text": lambda: {**few, name: ["x"] * 5},
        "date": lambda: {**few, name: [datetime.date(2024, 2, 29)] * 5},
        "lists": lambda: {**few, name: [[1.0]] * 5},
    }[fault]()
    table = kind(changed) if fault != "twice" else pd.concat([pd.DataFrame(few), pd.DataFrame(few)[[name]]], axis=1)
    with pytest.raises(ValueError, match=name):
        _model(kind).score_samples(table)
