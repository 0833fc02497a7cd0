"""What a fit warns of before training: degenerate rows, and no others."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn import datasets as real

from backwalk.datasets import two_moons
from backwalk.errors import DegenerateRowsWarning, RepeatedValueWarning
from backwalk.estimator import Diffusion
from backwalk.fit import ChosenColumns, check_settings
from backwalk.fit.plan import plan_fit, split_encoded
from backwalk.fit.warnings import find_warnings, flat_directions
from backwalk.streams import Stream
from backwalk.table import as_table, fit_codec

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(300, 3))
GRID = RNG.normal(size=(5000, 2))


def told(X, **settings):
    """The texts about degenerate rows, without a fit."""
    given = check_settings(Diffusion(**settings).get_params(deep=False))
    table = as_table(X)
    n_gaps = [0] * len(table.schema.names)
    chosen = ChosenColumns(table, fit_codec(table), {}, n_gaps, len(table.values), len(table.values))
    z = chosen.codec.encode(table.values, stream=Stream(0))
    plan = plan_fit(chosen, z, split_encoded(z, given, Stream(0)), given, stream=Stream(0))
    return [text for category, text in find_warnings(plan, z) if category is DegenerateRowsWarning]


def frame(X):
    return pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])])


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (NORMAL[:, [0, 1, 1]], "column 1, column 2.*drop a column"),
        (
            frame(np.column_stack([NORMAL, NORMAL[:, 0] - 2.0 * NORMAL[:, 2]])),
            "'c0', column 'c2', column 'c3'",
        ),
        (NORMAL[:, [0, 0]] + 1e-5 * NORMAL[:, :2], r"almost.*less than .* noise \(0\.0\d+.*schedule"),
        (np.repeat(NORMAL[:15], 20, axis=0), r"only 15 of 300 rows differ.*each row once"),
        (np.tile(NORMAL[:100], (3, 1)), r"only 100 of 300 rows differ"),
        (NORMAL[RNG.integers(0, 100, size=300)], r"only \d\d of 300 rows differ"),
        (np.tile(np.column_stack([NORMAL[:30], NORMAL[:30, 0] > 0.0]), (20, 1)), "only 30 of 600 rows differ"),
        (NORMAL[:2], "2 rows of 3 columns that vary are too few.*at least 20"),
        (NORMAL[:19], "19 rows"),
        (RNG.normal(size=(30, 30)), "30 rows of 30 columns.*more than there are columns"),
    ],
    ids=["equal columns", "a sum", "nearly equal", "copies", "tiled", "drawn", "a flag", "2", "19", "wide"],
)
def test_degenerate_rows_are_warned_of(X, words):
    """Found by an attack: they were fitted without a word."""
    texts = told(X)
    assert len(texts) == 1
    assert re.search(words, texts[0])


def counts(n):
    return pd.DataFrame({"flag": RNG.integers(0, 2, n), "age": RNG.integers(18, 80, n), "n": RNG.poisson(3.0, n)})


@pytest.mark.slow
@pytest.mark.parametrize(
    "X",
    [
        *(real.__dict__[f"load_{name}"]().data for name in ("iris", "wine", "diabetes", "breast_cancer")),
        two_moons().sample(1000, random_state=0),
        counts(300),
        counts(300)[["flag"]],
        pd.DataFrame(RNG.integers(0, 2, size=(300, 5))),
        counts(300).assign(x=NORMAL[:, 0]),
        frame(NORMAL).assign(fixed=1.0),
        NORMAL[:20],
        np.round(NORMAL, 1),
        np.exp(4.0 * NORMAL),
        np.round(GRID[:, :1], 1),
        np.round(GRID, 1),
        np.round(GRID @ [[1.0, 0.95], [0.0, 0.3]], 1),
        np.column_stack([np.round(GRID[:, 0], 1), GRID[:, 0] > 0.1]),
        np.log1p(RNG.poisson(3.0, size=(2000, 2))),
        RNG.integers(0, 5, size=(1000, 3)),
        pd.DataFrame({"a": RNG.integers(0, 5, 1000) * 0.5, "b": RNG.integers(0, 50, 1000)}),
    ],
    ids=[
        *("iris", "wine", "diabetes", "breast cancer", "two moons", "integers", "flag", "binary", "mixed"),
        *("constant", "20 rows", "rounded", "heavy tails"),
        *(
            "a rounded column",
            "two rounded",
            "two that depend",
            "a flag of a rounded column",
            "logarithms of counts",
        ),
        *("integers of an array", "half steps"),
    ],
)
def test_ordinary_tables_are_not_warned_of(X):
    """Rounded numbers repeat because there are few of them, alone, beside integers, and where columns depend."""
    assert told(X) == []


def test_levels_that_determine_each_other_are_no_copies():
    """Cities with their countries, and ages with years of birth, have few different rows; copies of numbers do too."""
    cities, ages = RNG.integers(0, 40, size=2000), RNG.integers(20, 70, size=2000)
    labels = pd.DataFrame({"city": [f"city {i}" for i in cities], "country": [f"country {i}" for i in cities]})
    assert told(labels) == []
    assert told(pd.DataFrame({"age": ages, "born": 2020 - ages})) == []
    assert any("only 100 of 300" in text for text in told(frame(np.tile(NORMAL[:100, :2], (3, 1)))))


@pytest.mark.parametrize("spread", [0.5, 0.99, 1.01, 2.0])
def test_a_direction_is_flat_below_the_least_noise_level(spread):
    level = 0.01
    turn = torch.linalg.qr(torch.from_numpy(RNG.normal(size=(4, 4)))).Q
    covariance = turn @ torch.diag(torch.tensor([1.0, 0.5, 0.2, (spread * level) ** 2], dtype=torch.float64)) @ turn.T
    assert (flat_directions(covariance, level) is not None) == (spread < 1.0)


def test_a_fit_warns_at_its_caller_before_it_trains():
    def never(progress):
        raise AssertionError("training began")

    with pytest.warns(DegenerateRowsWarning, match="2 rows") as caught, pytest.raises(AssertionError):
        Diffusion(n_steps=5, max_steps=1, verbose=False, callbacks=[never]).fit(NORMAL[:2])
    assert {warning.filename for warning in caught} == {__file__}


def test_repeated_numbers_have_a_warning_of_their_own():
    heaped = NORMAL.copy()
    heaped[::2, 0] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error", DegenerateRowsWarning)
        with pytest.warns(RepeatedValueWarning, match="column 0"):
            Diffusion(n_steps=5, max_steps=1, random_state=0, verbose=False).fit(heaped)
