"""The table that comes with the package is the published one."""

import numpy as np
import pyarrow.compute as pc
import pytest

from backwalk.datasets import penguins

# Gorman, Williams & Fraser 2014: counts of the study, and means that its readers know.
COUNTS = {
    ("Adelie", "Torgersen"): 52,
    ("Adelie", "Biscoe"): 44,
    ("Adelie", "Dream"): 56,
    ("Chinstrap", "Dream"): 68,
    ("Gentoo", "Biscoe"): 124,
}
MEANS = {"Adelie": 3700.66, "Chinstrap": 3733.09, "Gentoo": 5076.02}


def test_the_penguins_are_those_of_the_study():
    table = penguins()
    counted = table.group_by(["species", "island"]).aggregate([([], "count_all")]).to_pylist()
    assert {(row["species"], row["island"]): row["count_all"] for row in counted} == COUNTS
    for species, mean in MEANS.items():
        masses = table.filter(pc.field("species") == species)["body_mass_g"].drop_null().to_numpy()
        assert np.mean(masses) == pytest.approx(mean, abs=0.01)
    gaps = {name: table[name].null_count for name in table.column_names if table[name].null_count}
    measured = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
    assert gaps == {**dict.fromkeys(measured, 2), "sex": 11}
