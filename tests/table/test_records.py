"""Columns are written as JSON and read again exactly, and what is no column is refused."""

import json
import math

import pytest

from backwalk.errors import InvalidInput
from backwalk.table import Boundary, Codec, Grid, NumberColumn, Spline, as_table, fit_codec
from backwalk.table.records import to_record
from tests.table.tables import COLUMNS, MIXED, TAILED

BOTH = NumberColumn(2.0, 2.0, -2.0, 6.0, bounds=Boundary((-1.0, 1.0), (-0.8, 0.8), -2.0, 2.0, 0.5))
MAPPED_COUNT = NumberColumn(
    3.0, 2.0, 0.0, 9.0, spline=Spline((-1.0, 2.0), (-1.5, 1.4)), grid=Grid(), dequantisation=0.0
)


def test_columns_of_every_kind_survive_json_exactly():
    for codec in (COLUMNS, Codec((BOTH, MAPPED_COUNT)), *(fit_codec(as_table(frame)) for frame in (MIXED, TAILED))):
        again = Codec.from_dict(json.loads(json.dumps(codec.to_dict(), allow_nan=False)))
        assert again == codec
        assert hash(again) == hash(codec)


NUMBER = to_record(NumberColumn(0.0, 1.0))
HEAVY = {**NUMBER, "asinh": {"kind": "Asinh", "centre": 0.0, "scale": 1.0}}
GRID = {"kind": "Grid", "step": 1.0, "offset": 0.0, "per": 1.0}
INTEGER = {**NUMBER, "least": 0.0, "largest": 5.0, "grid": GRID, "dequantisation": 0.0}
BOUNDED = to_record(BOTH)
MAPPED = {**NUMBER, "spline": {"kind": "Spline", "knots": [-1.0, 0.0, 2.0], "quantiles": [-1.0, 0.5, 1.0]}}
LEVELS = {"kind": "LevelsColumn", "values": [0.0, 1.0], "frequencies": [0.5, 0.5], "coding": "one-hot", "n_rows": 9}
ATOMS = {
    "kind": "AtomsColumn",
    "number": NUMBER,
    "atoms": [0.0, None],
    "frequencies": [0.5, 0.25, 0.25],
    "n_rows": None,
}
ALL = [NUMBER, HEAVY, INTEGER, BOUNDED, MAPPED, ATOMS, LEVELS, {"kind": "ConstantColumn", "value": 1.0}]


def part(column, name, **change):
    return {**column, name: {**column[name], **change}}


@pytest.mark.parametrize(
    "column",
    [
        *({**NUMBER, "scale": scale} for scale in (0.0, -1.0, 1e-320, math.inf)),
        *({**NUMBER, "centre": centre} for centre in (math.nan, "0", 10**400, True, None)),
        *({**NUMBER, "kind": kind} for kind in ("text", ["NumberColumn"], "ConstantColumn", "Asinh", None)),
        *(part(HEAVY, "asinh", scale=scale) for scale in (0.0, math.inf, None)),
        *(part(INTEGER, "grid", step=step) for step in (None, 0.0, 0.5)),
        *(part(INTEGER, "grid", **change) for change in ({"per": -1.0}, {"offset": 0.5}, {"more": 1.0})),
        *({**INTEGER, "dequantisation": c} for c in (1.0, -0.5, "uniform")),
        *({**INTEGER, **change} for change in ({"grid": None}, {"grid": 1.0}, {"least": "0"}, {"least": 6.0})),
        {**INTEGER, "largest": math.nan},
        *(part(BOUNDED, "bounds", **change) for change in ({"low": None, "high": None}, {"low": -0.5}, {"low": "0"})),
        part(BOUNDED, "bounds", low_power=0.0),
        *(part(MAPPED, "spline", knots=knots) for knots in ([0.0], [0.0, 0.0, 1.0], None, [0.0, 1.0], [0, 1, 2])),
        *({**LEVELS, "values": values} for values in ([0.0], [1.0, 0.0], [None, 0.0], [0.0, math.inf], [0, 1], 3.0)),
        *({**LEVELS, "frequencies": shares} for shares in ([0.5, 0.4], [1.0], [1.5, -0.5], [None, 0.5])),
        *({**LEVELS, "n_rows": n_rows} for n_rows in (0, -1, 2.5, "9", True)),
        *({**LEVELS, "coding": coding} for coding in ("two-hot", ["one-hot"])),
        {**LEVELS, "values": [0.0, 0.0], "coding": "ordered"},
        {**LEVELS, "values": [0.0], "frequencies": [1.0]},
        *({**ATOMS, "atoms": atoms} for atoms in ([None, 0.0], [None, None], [1.0, 0.0], [])),
        {**ATOMS, "frequencies": [0.5, 0.5]},
        *({**ATOMS, "number": number} for number in (None, GRID, LEVELS, {**NUMBER, "scale": 0.0})),
        {**NUMBER, "extra": 1.0},
        {"kind": "NumberColumn", "centre": 0.0, "scale": 1.0},
        GRID,
        {"kind": "ConstantColumn", "value": None},
        {"kind": "ConstantColumn", "value": 1.0},  # none varies
        {},
        None,
        [],
    ],
    ids=str,
)
def test_a_record_that_is_no_codec_is_refused(column):
    assert Codec.from_dict({"columns": ALL}).n_encoded == 5 + 4 + 2
    with pytest.raises(InvalidInput):
        Codec.from_dict({"columns": [column]})


@pytest.mark.parametrize("n", [20_000, 30_000])
def test_a_record_of_very_many_one_hot_levels_is_refused_before_their_codes_are_made(n):
    """Found by review: a model file of 0.7 MiB took 3 GiB, for codes of n x n."""
    shares = [1.0 / n] * n
    levels = {**LEVELS, "values": [float(i) for i in range(n)], "frequencies": shares}
    with pytest.raises(InvalidInput, match=f"{n:,}"):
        Codec.from_dict({"columns": [levels]})
    assert Codec.from_dict({"columns": [{**levels, "coding": "random"}]}).n_encoded == 16
    atoms = {**ATOMS, "atoms": levels["values"][1:], "frequencies": shares}
    assert Codec.from_dict({"columns": [atoms]}).n_encoded == 3


@pytest.mark.parametrize(
    "record", [None, [], {}, {"columns": {}}, {"columns": []}, {"columns": [NUMBER], "more": 1}], ids=str
)
def test_a_record_without_columns_is_refused(record):
    with pytest.raises(InvalidInput):
        Codec.from_dict(record)
