"""Tables of columns of several kinds, which tests share."""

import numpy as np
import pandas as pd

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
