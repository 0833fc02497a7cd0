import numpy as np
import pytest

from backwalk.datasets import TABLES, load_table
from backwalk.errors import InvalidInput

SHAPES = {"iris": (150, 4), "wine": (178, 13), "breast_cancer": (569, 30), "diabetes": (442, 10)}


@pytest.mark.parametrize("name", TABLES)
def test_table_has_a_name_for_each_column_and_a_target_for_each_row(name):
    table = load_table(name)
    assert table.rows.shape == SHAPES[name]
    assert table.rows.dtype == np.float64
    assert len(set(table.columns)) == table.rows.shape[1]
    assert all(type(column) is str for column in table.columns)
    assert table.target.shape == (len(table.rows),)
    assert np.isfinite(table.rows).all()


def test_classes_have_names_and_units_are_the_tables_own():
    assert set(load_table("iris").target) == {"setosa", "versicolor", "virginica"}
    assert load_table("diabetes").rows[:, 0].max() == 79.0  # years of age, not a scaled column


def test_unknown_table_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInput, match="iris, wine, breast_cancer, diabetes"):
        load_table("penguins")
