"""One number in many rows is found, unless rounding brings it back."""

import numpy as np
import pandas as pd

from backwalk.table import as_table, fit_codec, repeated_values


def test_a_number_in_many_rows_is_found_where_no_rounding_brings_it_back():
    rng, many = np.random.default_rng(5), np.arange(900) % 10 > 0
    rows = pd.DataFrame(
        {
            "rain": np.where(many, 0.0, rng.exponential(size=900)),
            "gain": np.where(many, 0, rng.integers(1, 99_999, 900)),
            "flag": rng.integers(0, 2, 900),
            "dose": rng.normal(size=900),
            "income": np.where(many, np.exp(4.0 * rng.normal(size=900)), 0.5),
        }
    )
    table = as_table(rows)
    found = repeated_values(fit_codec(table, columns=dict.fromkeys(rows, "number")), table.values, 0.002)
    assert sorted(found) == [0, 1]
    assert found[1] == (0.0, 0.9)
