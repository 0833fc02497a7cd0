"""Arrays and tables in memory: what cannot be fitted is refused at once, what can gives the same as its copy."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import scipy.sparse
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backwalk import Diffusion
from backwalk.errors import InvalidInput, SamplingDiverged, TrainingDiverged
from backwalk.table import Codec, as_table
from soak.campaign import outcome_of
from soak.material import estimator, fitted, rows


def bad(n: int, seed: int, _: Path) -> Iterator[str]:
    """Yield outcomes of bad arrays at fit, score, bound, latents, the way back from them, and mixes."""
    rng = np.random.default_rng(seed)
    cases = [(*case, entry) for entry in _ENTRIES for case in _BAD]
    cases += [(*case, entry) for case, names in _BAD_FOR for entry in _ENTRIES if entry[0] in names]
    for i in range(n):
        make, words, entry = cases[i % len(cases)]
        yield outcome_of(lambda make=make, words=words, entry=entry: _refused(make(rng), words, entry))


def generated(n: int, seed_: int, _: Path) -> Iterator[str]:
    """Yield outcomes of arrays that hypothesis makes up: refused, or encoded and decoded as their float64 copy is."""
    count = 0

    @settings(
        max_examples=n, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
    )
    @seed(seed_)
    @given(_ARRAYS)
    def check(X: Any) -> None:
        nonlocal count
        count += 1
        before = X.tobytes()
        try:
            table = as_table(X)
            codec = Codec.fit(table)
            z = codec.encode(table.values)
        except ValueError as error:
            assert isinstance(error, InvalidInput)
            if X.size and X.dtype.kind == "f" and not np.isfinite(X.astype(np.float64)).all():
                assert "row" in str(error), str(error)
        else:
            assert np.isfinite(z).all()
            back = codec.decode(z)
            assert np.isfinite(back).all()
            constant = [j for j in range(X.shape[1]) if j not in codec.varying]
            assert (back[:, constant] == table.values[:, constant]).all()
            largest = np.abs(table.values).max(axis=0).clip(min=1e-300)  # of each column
            np.testing.assert_allclose(back / largest, table.values / largest, rtol=1e-9, atol=1e-12)
        assert X.tobytes() == before

    failure = outcome_of(check)
    yield from [""] * (count - bool(failure))
    if failure:
        yield failure


def generated_at_entries(n: int, seed_: int, _: Path) -> Iterator[str]:
    """Yield outcomes of arrays that hypothesis makes up, at each way into a model in turn."""
    count = 0

    @settings(
        max_examples=n, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
    )
    @seed(seed_)
    @given(_ARRAYS | _THREE_COLUMNS)
    def check(X: Any) -> None:
        nonlocal count
        name, ask = _ASKED[count % len(_ASKED)]
        count += 1
        before = X.tobytes()
        try:
            result = ask(X)
        except ValueError as error:
            assert isinstance(error, InvalidInput), f"{name}: {type(error).__name__}: {error}"
            assert "\n" not in str(error), str(error)
        else:
            assert not np.isnan(result).any(), name
        assert X.tobytes() == before, name

    failure = outcome_of(check)
    yield from [""] * (count - bool(failure))
    if failure:
        yield failure


def generated_tables(n: int, seed_: int, _: Path) -> Iterator[str]:
    """Yield outcomes of tables that hypothesis makes up: refused, or scored as their columns in the fitted order."""
    count = 0

    @settings(
        max_examples=n, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
    )
    @seed(seed_)
    @given(st.sampled_from(_KINDS), st.integers(1, 4).flatmap(_columns_of))
    def check(kind: Callable[[dict[str, Any]], Any], columns: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        model, table = _model(kind), kind(columns)
        try:
            scores = model.score_samples(table)
        except InvalidInput as error:
            assert set(columns) != set(_NAMES) or not _all_finite(columns), str(error)
            assert "\n" not in str(error), str(error)
        else:
            assert set(columns) == set(_NAMES)
            ordered = np.column_stack([np.asarray(columns[name], dtype=np.float64) for name in _NAMES])
            np.testing.assert_array_equal(scores, model.score_samples(ordered))

    failure = outcome_of(check)
    yield from [""] * (count - bool(failure))
    if failure:
        yield failure


def odd(n: int, seed: int, _: Path) -> Iterator[str]:
    """Yield outcomes of unusual but good arrays: the fit and its samples equal those of the float64 copy."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        change = _ODD[i % len(_ODD)]
        yield outcome_of(lambda change=change: _same_as_copy(change, rng))


def tables(n: int, seed: int, _: Path) -> Iterator[str]:
    """Yield outcomes of columns that come in another order, lack, are there twice or too many."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        kind, fault = _KINDS[i % len(_KINDS)], _FAULTS[i // len(_KINDS) % len(_FAULTS)]
        yield outcome_of(lambda kind=kind, fault=fault: _columns(kind, fault, rng))


def _never(progress: object) -> None:
    raise AssertionError("training began")


_ENTRIES: list[tuple[str, Callable[[Any], object]]] = [
    ("fit", lambda X: estimator(callbacks=[_never]).fit(X)),
    ("score_samples", lambda X: fitted().score_samples(X)),
    ("bound", lambda X: fitted().bound(X)),
    ("to_latent", lambda X: fitted().to_latent(X)),
    ("from_latent", lambda X: fitted().from_latent(X)),
    ("interpolate", lambda X: fitted().interpolate(X, rows()[:1])),
]


def _refused(X: Any, words: str, entry: tuple[str, Callable[[Any], object]]) -> None:
    name, ask = entry
    before = X.tobytes() if isinstance(X, np.ndarray) and X.dtype != object else None
    try:
        ask(X)
    except ValueError as error:
        assert all(word in str(error) for word in words.split()), f"{name}: {error}"
        assert "\n" not in str(error), str(error)
    else:
        raise AssertionError(f"{name} took {type(X).__name__}")
    assert before is None or X.tobytes() == before, "the input was changed"


def _with(value: float, dtype: type = float) -> Callable[[np.random.Generator], Any]:
    def make(rng: np.random.Generator) -> Any:
        X = rows()[: rng.integers(2, 50)].astype(dtype)
        X[rng.integers(len(X)), rng.integers(3)] = value
        return X

    return make


def _with_object(value: object) -> Callable[[np.random.Generator], Any]:
    def make(rng: np.random.Generator) -> Any:
        X = rows()[: rng.integers(2, 50)].astype(object)
        X[rng.integers(len(X)), rng.integers(3)] = value
        return X

    return make


_BAD: list[tuple[Callable[[np.random.Generator], Any], str]] = [
    (_with(np.inf), "inf row column"),
    (_with(-np.inf), "-inf row column"),
    (_with(np.inf, np.float16), "inf row column"),
    (_with_object({}), "row column"),
    (_with_object(1j), "row column"),
    (_with_object(10**400), "row column"),
    (lambda rng: np.empty((0, 3)), "0 sample"),
    (lambda rng: np.empty((int(rng.integers(1, 9)), 0)), "0 feature"),
    (lambda rng: rng.normal(size=int(rng.integers(1, 9))), "2D"),
    (lambda rng: rng.normal(size=(3, 3, 3)), "dim 3"),
    (lambda rng: np.float64(3.0), "2D"),
    (lambda rng: rng.normal(size=(5, 3)) * 1j, "Complex"),
    (lambda rng: scipy.sparse.csr_matrix(rng.normal(size=(5, 3))), "sparse"),
    (lambda rng: scipy.sparse.coo_array(rng.normal(size=(5, 3))), "sparse"),
    (lambda rng: np.array([[b"a", b"b", b"c"]] * 4), "dtype"),
    (lambda rng: np.array([["NaT"] * 3] * 4, dtype="datetime64"), "unit"),
    (lambda rng: [[1.0, 2.0, 3.0], [1.0, 2.0]], "rows"),
    (lambda rng: b"text", "numbers"),
    (lambda rng: None, "numbers"),
    (lambda rng: {"a": [1.0]}, ""),
    (lambda rng: pd.DataFrame({"a": [1.0, 2.0], "b": [["x"], ["y"]], "c": [1.0, 2.0]}), "'b'"),
    (lambda rng: pd.DataFrame({"a": pd.Categorical(["u", 1]), "b": [1.0, 2.0], "c": [1.0, 2.0]}), "'a'"),
]

_ROWS_OF_THE_FIT = {"score_samples", "bound", "to_latent", "from_latent", "interpolate"}
# A fit learns from gaps and texts; a model of complete numbers refuses them.
_GAPS_AND_TEXTS: list[tuple[Callable[[np.random.Generator], Any], str]] = [
    (_with(np.nan), "NaN row column"),
    (_with(np.nan, np.float32), "NaN row column"),
    (_with_object("text"), "'text' row column"),
    (_with_object(None), "row column"),
    (lambda rng: np.ma.masked_less(rng.normal(size=(9, 3)), 0.5), "NaN row"),
    (lambda rng: np.full((4, 3), 1e308) * np.array([[1], [-1], [1], [np.nan]]), "row"),
]
_BAD_FOR: list[tuple[tuple[Callable[[np.random.Generator], Any], str], set[str]]] = [
    *((case, _ROWS_OF_THE_FIT) for case in _GAPS_AND_TEXTS),
    ((lambda rng: rng.normal(size=(1, 3)), "2 rows 1 sample"), {"fit"}),
    ((lambda rng: np.ones((9, 3)), "constant"), {"fit"}),
    ((lambda rng: rng.normal(size=(5, 2)), "2 features 3"), {"score_samples", "bound", "to_latent", "interpolate"}),
    ((lambda rng: rng.normal(size=(5, 4)), "4 features 3"), {"score_samples", "bound", "to_latent", "interpolate"}),
    ((lambda rng: np.array([["a", "b", "c"]] * 4), "numbers"), _ROWS_OF_THE_FIT),
    ((lambda rng: np.array([["2020-01-01"] * 3] * 4, dtype="datetime64[D]"), "numbers"), _ROWS_OF_THE_FIT),
    ((lambda rng: rng.normal(size=(5, 3)), "shape 2 3"), {"from_latent"}),
    ((lambda rng: rng.normal(size=(5, 1)), "shape 2 1"), {"from_latent"}),
    ((lambda rng: np.full((5, 2), 1e7), "1e+06 1e+07"), {"from_latent"}),
    (
        (lambda rng: rng.normal(size=(2, 3)) + np.array([0.0, 9.0, 0.0]), "constant"),
        {"bound", "to_latent", "interpolate"},
    ),
    ((lambda rng: rows()[:2], "equally many 2 1"), {"interpolate"}),
    ((lambda rng: 1e300 * rows()[:4], "row 0"), {"score_samples"}),
]

_FLOATS = st.one_of(
    st.floats(width=64),
    st.floats(-1e3, 1e3),
    st.sampled_from([0.0, -0.0, 1e30, 1e-30, 1e308, -1e308, 5e-324, 1e-300, 1.0, np.nan, np.inf]),
)
_SHAPES = st.tuples(st.integers(0, 6), st.integers(0, 4))
_ARRAYS = st.one_of(
    hnp.arrays(np.float64, _SHAPES, elements=_FLOATS),
    hnp.arrays(np.float64, _SHAPES, elements=st.floats(-1e6, 1e6)),
    hnp.arrays(st.sampled_from([np.float32, np.float16, np.int8, np.uint64, np.int64, np.bool_]), _SHAPES),
    hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=4), elements=st.floats(-1, 1)),
)


_THREE_COLUMNS = st.one_of(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=_FLOATS),
    hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(3)), elements=st.sampled_from([7.25, 0.5, 3.0, -1.0])),
    hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.just(2)), elements=st.floats(-4.0, 4.0)),
)


def _fitted_and_drawn(X: Any) -> Any:
    """Fit for one step, and draw: a walk that leaves the finite numbers is told of as that."""
    try:
        return estimator(max_steps=1, n_steps=3).fit(X).sample(3, random_state=0, n_evaluations=2)
    except (TrainingDiverged, SamplingDiverged):
        return 0.0


_ASKED: list[tuple[str, Callable[[Any], Any]]] = [
    ("fit", _fitted_and_drawn),
    ("score_samples", lambda X: fitted().score_samples(X)),
    ("bound", lambda X: fitted().bound(X, random_state=0).per_row.numpy()),
    ("to_latent", lambda X: fitted().to_latent(X)),
    ("from_latent", lambda X: fitted().from_latent(X)),
    ("interpolate", lambda X: fitted().interpolate(X, X, n=3)),
]


def _huge(X: np.ndarray, rng: np.random.Generator) -> Any:
    return X * 1e30


def _tiny(X: np.ndarray, rng: np.random.Generator) -> Any:
    return X * 1e-30


def _mixed_units(X: np.ndarray, rng: np.random.Generator) -> Any:
    return X * 10.0 ** rng.integers(-30, 30, size=3)


def _constant_column(X: np.ndarray, rng: np.random.Generator) -> Any:
    X = X.copy()
    X[:, rng.integers(3)] = rng.choice([0.0, 1e300, -1e-300, 0.1, 1 / 3])
    return X


def _duplicate_columns(X: np.ndarray, rng: np.random.Generator) -> Any:
    return X[:, [0, 0, 2]]


def _duplicate_rows(X: np.ndarray, rng: np.random.Generator) -> Any:
    return np.repeat(X[:20], 8, axis=0)


def _read_only(X: np.ndarray, rng: np.random.Generator) -> Any:
    X = X.copy()
    X.flags.writeable = False
    return X


_ODD: list[Callable[[np.ndarray, np.random.Generator], Any]] = [
    _huge,
    _tiny,
    _mixed_units,
    _constant_column,
    _duplicate_columns,
    _duplicate_rows,
    _read_only,
    lambda X, rng: X.astype(np.float16),
    lambda X, rng: X.astype(np.float32),
    lambda X, rng: np.rint(10 * X).astype(np.int64),
    lambda X, rng: np.rint(10 * np.abs(X)).astype(np.uint8),
    lambda X, rng: np.greater(X, X.mean(axis=0)),
    lambda X, rng: np.asfortranarray(X),
    lambda X, rng: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    lambda X, rng: X[::-1, ::-1],
]


def _same_as_copy(change: Callable[[np.ndarray, np.random.Generator], Any], rng: np.random.Generator) -> None:
    X = change(rng.normal(size=(int(rng.integers(30, 120)), 3)) + np.array([1.0, 0.0, 5.0]), rng)
    before, copy = X.tobytes(), np.array(X, dtype=np.float64, order="C")
    samples, expected = (estimator(max_steps=2).fit(rows).sample(20, random_state=0) for rows in (X, copy))
    assert np.isfinite(samples).all()
    assert X.tobytes() == before
    np.testing.assert_array_equal(samples, expected.astype(samples.dtype))
    for j in np.flatnonzero(copy.min(axis=0) == copy.max(axis=0)):
        assert (expected[:, j] == copy[0, j]).all()


_NAMES = ["length", "count", "fixed"]
_KINDS: list[Callable[[dict[str, Any]], Any]] = [pd.DataFrame, pl.DataFrame, pa.table]
_FAULTS = ["order", "missing", "extra", "renamed", "twice", "text", "date", "mixed"]
_MODELS: dict[object, Diffusion] = {}


def _data() -> dict[str, Any]:
    return {"length": rows()[:, 0], "count": np.arange(300) % 7, "fixed": rows()[:, 1]}


def _model(kind: Callable[[dict[str, Any]], Any]) -> Diffusion:
    if kind not in _MODELS:
        _MODELS[kind] = estimator(max_steps=2).fit(kind(_data()))
    return _MODELS[kind]


def _columns_of(n_rows: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return tables of so many rows: mostly of the fitted names, in any order, of any dtype."""
    fixed = st.just(np.full(n_rows, 7.25))
    numbers = st.one_of(
        hnp.arrays(np.float64, n_rows, elements=st.floats(-10.0, 10.0)),
        hnp.arrays(st.sampled_from([np.float32, np.int8, np.int64, np.uint16]), n_rows, elements=st.integers(0, 9)),
        hnp.arrays(np.float64, n_rows, elements=st.sampled_from([1.0, np.nan, np.inf])),
        fixed,
    )
    names = st.one_of(
        st.permutations(_NAMES),
        st.permutations([*_NAMES, "more"]),
        st.lists(st.sampled_from([*_NAMES, "Length", "count ", "größe", "x"]), min_size=1, max_size=4, unique=True),
    )
    return names.flatmap(lambda chosen: st.fixed_dictionaries(dict.fromkeys(chosen, numbers)))


def _all_finite(columns: dict[str, Any]) -> bool:
    return all(bool(np.isfinite(values).all()) for values in columns.values())


def _columns(kind: Callable[[dict[str, Any]], Any], fault: str, rng: np.random.Generator) -> None:
    data = _data()
    model, few = _model(kind), {name: values[:5] for name, values in data.items()}
    expected = model.score_samples(kind(few))
    name = _NAMES[rng.integers(3)]
    if fault == "order":
        shuffled = {_NAMES[j]: few[_NAMES[j]] for j in rng.permutation(3)}
        np.testing.assert_array_equal(model.score_samples(kind(shuffled)), expected)
        return
    changed = dict(few)
    if fault == "missing":
        del changed[name]
    elif fault == "extra":
        name = "further"
        changed[name] = np.zeros(5)
    elif fault == "renamed":
        changed = {f"{each} " if each == name else each: values for each, values in few.items()}
    elif fault == "text":
        changed[name] = ["x"] * 5
    elif fault == "date":
        changed[name] = [datetime.date(2024, 2, 29)] * 5
    elif fault == "mixed":
        changed[name] = pd.Categorical(["u", 1.5, "u", 1.5, "u"]) if kind is pd.DataFrame else [[1.0]] * 5
    try:
        if fault == "twice":
            given = pd.DataFrame(few)
            model.score_samples(pd.concat([given, given[[name]]], axis=1))
        else:
            model.score_samples(kind(changed))
    except ValueError as error:
        assert name in str(error), str(error)
    else:
        raise AssertionError(f"{fault} columns were taken")
