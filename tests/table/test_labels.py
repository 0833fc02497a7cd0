"""Identifiers are read from text files character by character."""

import pytest

from backwalk.table import read_labels, read_table


@pytest.mark.parametrize(("suffix", "sign"), [(".csv", ","), (".tsv", "\t")])
def test_no_identifier_in_text_is_a_missing_value(tmp_path, suffix, sign):
    """Found by review: "NA", which is Namibia, and "null" were lost."""
    ids = ["NA", "null", '""', "007", "nan", "", "1e3"]
    path = tmp_path / f"rows{suffix}"
    path.write_text("".join(f"{id}{sign}{x}\n" for id, x in zip(["id", *ids], ["x", *range(7)], strict=True)))
    assert read_labels(path, "id").to_pylist() == ["NA", "null", "", "007", "nan", "", "1e3"]
    # where the column is data, they are missing
    assert read_table(path).observed[:, 0].tolist() == [False, False, False, True, False, False, True]
