"""Tables and a codec of columns of all kinds, which tests share."""

import numpy as np
import pandas as pd

from backwalk.table import Asinh, AtomsColumn, Codec, ConstantColumn, Grid, LevelsColumn, NumberColumn

_RNG = np.random.default_rng(3)
MIXED = pd.DataFrame(
    {
        "length": _RNG.normal(5.0, 0.3, 500),
        "count": _RNG.poisson(3.0, 500),
        "unit": np.full(500, 0.1),
        "flag": _RNG.random(500) < 0.3,
        "site": np.full(500, 7),
    }
)
WHOLE = {"count": "integer", "flag": "integer"}  # the columns of MIXED that would have levels
TAILED = pd.DataFrame(
    {
        "signed": _RNG.standard_cauchy(2000),
        "amount": 1e3 * np.exp(2.0 * _RNG.normal(size=2000)),
        "plain": _RNG.normal(size=2000),
        "hits": np.rint(10.0 * np.exp(1.5 * _RNG.normal(size=2000))).astype(np.int64),
    }
)

RAIN = AtomsColumn(NumberColumn(1.0, 0.5, asinh=Asinh(0.0, 0.5)), (0.0, np.nan), (0.6, 0.1, 0.3))
VISITS = AtomsColumn(NumberColumn(20.0, 5.0, 5.0, 40.0, grid=Grid(), dequantisation=0.0), (0.0,), (0.25, 0.75))
SITE = LevelsColumn((0.0, 1.0, 2.0), (0.5, 0.2, 0.3), "one-hot")
GRADE = LevelsColumn((1.0, 2.0, 5.0, 9.0), (0.1, 0.2, 0.3, 0.4), "ordered")
GAIN = LevelsColumn((0.0, 114.0, 99_999.0), (0.9, 0.05, 0.05), "ordered")
CITY = LevelsColumn(tuple(map(float, range(100))), (0.01,) * 100, "random")
COLUMNS = Codec((SITE, NumberColumn(5.0, 2.0), GRADE, RAIN, ConstantColumn(7.0), CITY, VISITS, GAIN))
ROWS = np.array(
    [
        [0.0, 4.0, 1.0, 0.0, 7.0, 99.0, 0.0, 114.0],
        [2.0, 6.5, 9.0, np.nan, 7.0, 0.0, 17.0, 0.0],
        [1.0, -1.0, 5.0, 2.25, 7.0, 42.0, 30.0, 99_999.0],
    ]
)
