"""Text files: the type of each column follows from all of its cells, and cells are read as they stand."""

import csv
import gzip
import io

import numpy as np
import pytest

from backwalk.errors import TableFileError
from backwalk.table import Selection, read_labels, read_part, read_table

TYPES = {
    "int64": (["1", "2", "-3"], ["-0", "1"], [" 1 ", "2\t"], ["NA", "1"], ["", "5"], ["nan", "1"], ["20200101"]),
    "float64": (
        ["1", "2", "1.5"],  # a decimal in the last row alone
        ["1", "+5"],
        ["1.", ".5", "00.5", "+1.5", "1e3", "2E+03", "1e05"],
        ["100000000000000000000", "1"],  # 1e20 is exact
        ["9223372036854775808"],
        ["NA", "null"],
    ),
    "bool": (["true", "False"], ["0", "1", "TRUE"], ["true ", "false"]),
    "date32[day]": (["2020-01-01", "1969-12-31"], ["0001-01-01", ""]),
    "timestamp[s]": (["2020-01-01", "2021-02-03 10:00"], ["2020-01-01 10", "2020-01-01T10:00:01"]),
    "timestamp[ms]": (["2020-01-01 10:00", "2020-01-01T10:00:01.5"],),
    "timestamp[us]": (["1970-01-01 00:00:00.000001", "2020-01-01 10:00"],),
    "timestamp[s, tz=UTC]": (["2020-01-01 10:00:00Z", "2020-01-01 10:00:00+02:00", "2020-01-01 10+0200"],),
    "time32[s]": (["10:00", "23:59:59"],),
    "time64[ns]": (["10:00", "11:30:01.123456789"],),
    "string": (
        ["1", "2", "00501"],  # a code in the last row alone
        ["1.5", "00501"],
        ["1", "-007"],
        ["1", "00"],
        ["1", "+4416123456"],
        ["1234567", "+1234567"],
        ["x", "y", "7"],
        ["0x1F", "1.5"],
        ["yes", "no"],
        ["T", "F"],
        ["1_000", "5"],
        ["1e", "2"],
        ["1.5.2", "2"],
        [" ", "1"],
        ["\u0663", "1"],  # a digit of Arabic
        ["2020-01-01 10:00Z", "2020-01-01 10:00"],
        ["2020-1-1", "2020-01-02"],
        ["2020-01-01 ", "2020-01-02"],
        ["12020-01-01", "2020-01-01"],
        ["24:00:00", "10:00:00"],
        ["1:00", "2:00"],
        ["TRUE", "0.5"],
    ),
}


def written(path, columns):
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([*columns, "row"])
        rows.writerows([*cells, str(i)] for i, cells in enumerate(zip(*columns.values(), strict=True)))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "columns"), TYPES.items())
def test_a_column_has_the_first_type_that_fits_all_of_its_cells(tmp_path, dtype, columns):
    n = max(map(len, columns))
    padded = [[cells[0]] * (n - len(cells)) + cells for cells in columns]
    late = [[cells[0]] * 1500 + cells[1:] for cells in padded]  # the last after those that are tried first
    for arranged in (padded, [cells[::-1] for cells in padded], late):
        table = read_table(written(tmp_path / "rows.csv", {f"c{j}": cells for j, cells in enumerate(arranged)}))
        for j, column in enumerate(arranged):
            assert table.schema.dtypes[j] == dtype, column[-3:]
            if dtype == "string":
                labels = table.schema.labels[j]
                assert [labels[int(code)] for code in table.values[:, j]] == column


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (["03/14/2021", "4/2/2021", ""], [18700, 18719, None]),
        (["14.03.2021", "01.04.2021"], [18700, 18718]),
        (["14-3-2021", "1-4-2021"], [18700, 18718]),
        (["2021/03/14", "2021/3/4"], [18700, 18690]),
        (["Mar 14, 2021", "May 1, 2021"], [18700, 18748]),
        (["March 14, 2021", "May 1, 2021"], [18700, 18748]),
        (["14 Mar 2021"], [18700]),
        (["14 March 2021"], [18700]),
        (["03/14/2021", "14/03/2021"], None),
        (["31/02/2021", "14/03/2021"], None),
        (["2021/03/14", "14.03.2021"], None),
    ],
)
def test_dates_are_read_where_all_cells_agree_on_one_format_alone(tmp_path, cells, days):
    path = tmp_path / "dates.tsv"
    path.write_text("n\tday\n" + "".join(f"{i}\t{cell}\n" for i, cell in enumerate(cells)))
    table = read_table(path)
    assert table.schema.units[1] == (None if days is None else "D")
    if days is not None:
        np.testing.assert_array_equal(table.values[:, 1], np.array(days, dtype=np.float64))


@pytest.mark.slow
def test_cells_keep_line_ends_quotes_and_separators(tmp_path):
    cells = ["a\nb", "p\r\nq", 'say "hi"', "x,y", 'x"y', "\x1f", "ü", "'=1+1"]
    for end in ("\n", "\r\n", "\r"):
        path, text = tmp_path / "rows.csv", io.StringIO(newline="")
        csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(
            [["a", "row"], *([cell, "1"] for cell in cells)]
        )
        path.write_text(text.getvalue(), newline="")
        assert read_labels(path, "a").to_pylist() == cells
        assert "=1+1" in read_table(path).schema.labels[0]  # without its apostrophe


@pytest.mark.parametrize("cells", [["00501", "02134"], ["+441632960961", "5"]])
def test_numbers_may_have_leading_zeros_where_they_are_asked_for(tmp_path, cells):
    """Found by review: zip codes became numbers, and 00501 was written as 501."""
    path = written(tmp_path / "rows.csv", {"a": cells})
    assert read_table(path).schema.labels[0] is not None
    found = read_part(path, Selection(numbers=("a",))).table
    assert found.values[:, 0].tolist() == [float(cell) for cell in cells]


@pytest.mark.parametrize(
    ("suffix", "data", "names"),
    [
        (".tsv", b"\tx\ty\n-7\t1.5\t3\n", ("", "x", "y")),
        (".tsv", b"\n  \n\n\tx\n-7\t1\n", ("", "x")),
        (".csv", b" x,y\n1,2\n", (" x", "y")),
        (".csv", b"\xef\xbb\xbf \t\n x\n1\n", (" x",)),
        (".csv", b'"a\rb","c"\n1,2\n', ("a\rb", "c")),
        (".csv", b"a,A\n1,2\n", ("a", "A")),
    ],
)
def test_names_stay_as_they_are(tmp_path, suffix, data, names):
    """Found by review: pandas begins a TSV with a tab, which was stripped, so that every column was read shifted."""
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(data)
    if "" in names:
        with pytest.raises(TableFileError, match=r"''.*--drop ''"):
            read_table(path)
    table = read_part(path, Selection(drop=("",) * ("" in names))).table
    assert table.columns == tuple(filter(None, names))
    assert len(table.values) == 1


@pytest.mark.parametrize("name", ["x*y.csv", "x[1].csv", "x?.csv", "x'q.csv", "x{1,2}.csv", "ü .csv"])
def test_any_name_of_a_file_is_that_file(tmp_path, name):
    (tmp_path / "x1.csv").write_text("a\n9\n")
    (tmp_path / name).write_text("a\n5\n")
    assert read_table(tmp_path / name).values.tolist() == [[5.0]]


def test_damaged_compressed_text_is_refused(tmp_path):
    path, data = tmp_path / "rows.csv.gz", gzip.compress(b"a,b\n" + b"".join(b"%d,2.5\n" % i for i in range(100)))
    for damaged in (data[:cut] for cut in (5, 25, -1)):
        path.write_bytes(damaged)
        with pytest.raises(TableFileError, match=r"rows\.csv\.gz"):
            read_table(path)
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(TableFileError, match="Not a gzipped file"):
        read_table(path)


@pytest.mark.parametrize("cell", ["-9223372036854775809", "9007199254740993"])
def test_a_whole_number_that_a_float_would_round_is_refused(tmp_path, cell):
    """Found by cross-check: it was rounded in silence."""
    path = tmp_path / "rows.csv"
    for other in ("1.5", "12345678901234567168"):
        path.write_text(f"id,x\n1,1\n{cell},2\n{other},3\n")
        with pytest.raises(TableFileError, match=rf"'id' has {cell} in row 1"):
            read_table(path)
    path.write_text("id\n12345678901234567168\n9223372036854775808\n1e300\n0.5\n")
    assert read_table(path).values[:2, 0].tolist() == [12345678901234567168, 2.0**63]


@pytest.mark.slow
def test_texts_among_numbers_are_named_as_in_the_file(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("zip,x\n" + "".join(f"{i}.50,{i}\n" for i in range(3000)) + "K1A,30\n")
    with pytest.raises(TableFileError, match="'K1A' at row 3000"):
        read_table(path)
    assert read_part(path, Selection(texts=("zip",))).table.schema.labels[0][:2] == ("0.50", "1.50")
    path.write_text("a\n1\n2\n0xFFFFFFFFFFFFFFFF\n")  # which was read as -1
    with pytest.raises(TableFileError, match="'0xFFFFFFFFFFFFFFFF' at row 2"):
        read_table(path)


@pytest.mark.parametrize("cell", ["2020-02-30", "2021-13-01"])
def test_an_impossible_date_is_named(tmp_path, cell):
    """One such cell made texts of a column of dates, without a word."""
    path = written(tmp_path / "rows.csv", {"day": ["2020-01-01"] * 2000 + [cell, "2020-01-02"]})
    with pytest.raises(TableFileError, match=rf"'day'.*'{cell}' at row 2000 .*--column 'day'=levels"):
        read_table(path)
    assert cell in read_part(path, Selection(texts=("day",))).table.schema.labels[0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a,b\n" + b"1,2\n" * 30 + b'"' + b"x" * (2**21 + 2**22), "most 2 MiB|should be closed"),
        (b"a,b\n" + b"1,2\n" * 30 + b'3,"4\n', "should be closed, but that in line 32"),
        (b'"a,b\n1,2\n', "close its quotation marks"),
        (b"a,b\n" + b"1,2\n" * 5000 + b"3\n" + b"4,5\n" * 20, "2 cells, as the header has, but line 5002 has 1"),
        (b"a,b\n" + b"1,2\n" * 5000 + b"3,\xe4\n", "line 5002 is not UTF-8"),
    ],
    ids=range(5),
)
def test_faults_of_later_rows_are_told(tmp_path, data, words):
    (tmp_path / "rows.csv").write_bytes(data)
    with pytest.raises(TableFileError, match=words) as caught:
        read_table(tmp_path / "rows.csv")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(("suffix", "sign"), [(".csv", ","), (".tsv", "\t")])
def test_no_identifier_in_text_is_a_missing_value(tmp_path, suffix, sign):
    """Found by review: "NA", which is Namibia, and "null" were lost."""
    ids = ["NA", "null", '""', "007", "nan", "", "1e3"]
    path = tmp_path / f"rows{suffix}"
    path.write_text("".join(f"{id}{sign}{x}\n" for id, x in zip(["id", *ids], ["x", *range(7)], strict=True)))
    assert read_labels(path, "id").to_pylist() == ["NA", "null", "", "007", "nan", "", "1e3"]
    # where the column is data, they are missing
    assert read_table(path).observed[:, 0].tolist() == [False, False, False, True, False, False, True]
