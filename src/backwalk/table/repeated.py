"""Numbers that many rows share, in columns whose model is a density alone."""

from __future__ import annotations

import numpy as np

from backwalk.table.choose_numbers import rows_looked_at
from backwalk.table.codec import Codec
from backwalk.table.schema import FloatArray

_ROWS_PER_REPEAT = 3  # a number counts as repeated from one row in three on
_FEWEST_REPEATS = 10  # rows; fewer may be equal by chance


def repeated_values(codec: Codec, values: FloatArray, blur: float) -> dict[int, tuple[float, float]]:
    """Return the columns in which a third of the rows or more hold the same number, with it and its share of rows.

    Numbers whose cell is wider than the model's blur, `blur` encoded units to either side, are left out, because
    rounding restores them, and so are columns with levels, and numbers that are always given. `values` is (n, d), of
    which at most 10,000 random rows are used; missing values do not count.
    """
    some, repeated = rows_looked_at(values, "repeated"), {}
    for j, column in enumerate(codec.columns):
        number = column.number_column
        if number is None or column.chain is None or column.atom_shares or number.always_given:
            continue
        observed = some[~np.isnan(some[:, j]), j]
        numbers, counts = np.unique(observed, return_counts=True)
        if not len(counts) or counts.max() < max(len(observed) / _ROWS_PER_REPEAT, _FEWEST_REPEATS):
            continue
        most = int(counts.argmax())
        blurred = column.chain.deviation_in_user_units(np.array(blur), column.chain.encode(numbers[most]))
        if 0.5 * column.cell_width <= blurred:
            repeated[j] = float(numbers[most]), float(counts[most] / len(observed))
    return repeated
