"""Files as other programs write them: each is read right, or the remedy of its error works as it is written."""

import datetime
import shlex

import pytest

from backwalk.errors import TableFileError
from backwalk.table import (
    Selection,
    TextPath,
    from_values,
    read_part,
    read_table,
    split_table,
)

DAY, MONTH, NEXT = datetime.date(2021, 12, 31), datetime.date(2021, 2, 1), datetime.date(2021, 2, 2)
READ = {
    "semicolons": (b"a;b\n1;x\n2;y\n", {"a": [1, 2], "b": ["x", "y"]}),
    "pipes": (b"a|b\n1|x\n2|y\n", {"a": [1, 2], "b": ["x", "y"]}),
    "tabs in a .csv": (b"a\tb, c\n1\tx, y\n2\ty, z\n", {"a": [1, 2], "b, c": ["x, y", "y, z"]}),
    "a line for spreadsheets": (b"sep=;\r\na;b\r\n1;x\r\n", {"a": [1], "b": ["x"]}),
    "decimal commas": (b"a;b\n1,5;x\n-20,25;y\n", {"a": [1.5, -20.25], "b": ["x", "y"]}),
    "decimal commas in quotation marks": (b'a,b\n"1,5",2\n"2,75",3\n', {"a": [1.5, 2.75], "b": [2, 3]}),
    "an exponent": (b"a;b\n1,5E+03;1\n2,5;2\n", {"a": [1500.0, 2.5], "b": [1, 2]}),
    "thousands beside decimal commas": (b"a;b\n1.234,5;5.678\n99,0;1.000\n", {"a": [1234.5, 99.0], "b": [5678, 1000]}),
    "thousands in quotation marks": (b'a,b\n"1,234",x\n12,y\n', {"a": [1234, 12], "b": ["x", "y"]}),
    "thousands by blanks": ("a;b\n1 234,5;1\n12\u00a0000;2\n".encode(), {"a": [1234.5, 12000.0], "b": [1, 2]}),
    "quoted numbers": (b'"a","b"\n"1.5","2"\n"2.5","3"\n', {"a": [1.5, 2.5], "b": [2, 3]}),
    "days first": (b"d,x\n31.12.2021,1\n01.02.2021,2\n", {"d": [DAY, MONTH], "x": [1, 2]}),
    "months first": (b"d,x\n12/31/2021,1\n2/1/2021,2\n", {"d": [DAY, MONTH], "x": [1, 2]}),
    "dates that another column decides": (
        b"d,e\n01/02/2021,31/12/2021\n,1/2/2021\n",
        {"d": [MONTH, None], "e": [DAY, MONTH]},
    ),
    "days first with a clock": (
        b"d;x\n31.12.2021 14:30;1\n1.2.2021;2\n",
        {"d": [datetime.datetime(2021, 12, 31, 14, 30), datetime.datetime(2021, 2, 1)], "x": [1, 2]},
    ),
    "UTF-16": ("a\tb\nMüller\t1\n".encode("utf-16"), {"a": ["Müller"], "b": [1]}),
    "a mark of UTF-8": ("a;b\nMüller;1\n".encode("utf-8-sig"), {"a": ["Müller"], "b": [1]}),
    "words for missing values": (
        b"a,b\nNA,x\n#N/A,n/a\nNULL,y\n3,\n",
        {"a": [None, None, None, 3], "b": ["x", None, "y", None]},
    ),
    "a header that looks like a comment": (b"# name,x\nBonn,1\nRome,2\n", {"name": ["Bonn", "Rome"], "x": [1, 2]}),
    "such a header below a comment": (b"# by a program\n# a b\n# x,y\n1,2\n", {"x": [1], "y": [2]}),
    "a comment of as many cells": (b"# by us, them\nx,y\n1,2\n", {"x": [1], "y": [2]}),
    "comments": (b"# by a program\n# on a day\n\na,b\n1,2\n", {"a": [1], "b": [2]}),
    "blank lines": (b"\na,b\n1,2\n\n3,4\n\n\n", {"a": [1, 3], "b": [2, 4]}),
    "empty columns at the end": (b"a,b,,\n1,x,,\n2,y,,\n", {"a": [1, 2], "b": ["x", "y"]}),
    "blanks around numbers": (b"a,b\n 1 , 2.5\n 3 , 4\n", {"a": [1, 3], "b": [2.5, 4.0]}),
    "codes stay": (
        b"a;b\n00501;+441632960961\n02134;+441632960962\n",
        {"a": ["00501", "02134"], "b": ["+441632960961", "+441632960962"]},
    ),
}
ASKED = {
    "a header that two signs part": (b"x, cm;y, kg\n180,5;70,2\n", "--sep ';'", {"x, cm": [180.5], "y, kg": [70.2]}),
    "thousands or decimals": (b"a;b\n1.234;x\n5.678;y\n", "--decimal ,", {"a": [1234, 5678], "b": ["x", "y"]}),
    "decimals or thousands": (b"a\tb\n1,234\tx\n5,678\ty\n", "--decimal ,", {"a": [1.234, 5.678], "b": ["x", "y"]}),
    "day or month": (b"d,x\n01/02/2021,1\n02/02/2021,2\n", "--dates day", {"d": [MONTH, NEXT], "x": [1, 2]}),
    "month or day": (b"d,x\n02/01/2021,1\n02/02/2021,2\n", "--dates month", {"d": [MONTH, NEXT], "x": [1, 2]}),
    "Windows": (
        "a;b\nMüller;1\n5 € – x;2\n".encode("cp1252"),
        "--encoding cp1252",
        {"a": ["Müller", "5 € – x"], "b": [1, 2]},
    ),
    "a header of Windows": ("größe;b\n1;2\n".encode("latin-1"), "--encoding cp1252", {"größe": [1], "b": [2]}),
    "question marks": (b"a,b\n1.5,1\n?,?\n2.5,3\n", "--na '?'", {"a": [1.5, None, 2.5], "b": [1, None, 3]}),
    "words of any letters": (
        "a,b\n1.5,1\nnicht verfügbar,2\n2.5,3\n3.5,4\n".encode(),
        "--na 'nicht verfügbar'",
        {"a": [1.5, None, 2.5, 3.5], "b": [1, 2, 3, 4]},
    ),
    "two signs": (
        b"a,b\n1.5,1\n-,2\n.,3\n2.5,4\n3.5,5\n",
        "--na - --na .",
        {"a": [1.5, None, None, 2.5, 3.5], "b": [1, 2, 3, 4, 5]},
    ),
}
MENDED = {
    "a title": (b"Report of 2021\n\na,b\n1,2\n", "1 cells", (b"Report of 2021\n", b""), {"a": [1], "b": [2]}),
    "a ragged row": (b"a,b\n1,2\n3,4,5\n", "line 3", (b"3,4,5\n", b""), {"a": [1], "b": [2]}),
    "a note at the end": (b"a,b\n1,2\nsource: us\n", "line 3", (b"source: us\n", b""), {"a": [1], "b": [2]}),
    "brackets": (b"a,b\n(5),1\n3,2\n7,3\n", "'(5)' at row 0", (b"(5)", b"-5"), {"a": [-5, 3, 7], "b": [1, 2, 3]}),
    "signs of currency": (b"a,b\n$5,1\n$3,2\n", "'$5' at row 0", (b"$", b""), {"a": [5, 3], "b": [1, 2]}),
    "per cent": (b"a,b\n5 %,1\n3 %,2\n", "'5 %' at row 0", (b" %", b""), {"a": [5, 3], "b": [1, 2]}),
    "apostrophes": (b"a;b\n1'234;1\n56;2\n", "1'234", (b"'", b""), {"a": [1234, 56], "b": [1, 2]}),
    "a column without a name": (b"a,\n1,x\n", "'x' has none", (b"a,\n", b"a,b\n"), {"a": [1], "b": ["x"]}),
}


def rows_of(path):
    table = read_table(path)
    return from_values(table.values, table.schema).to_pydict()


def options_of(remedy):
    """Return the options of TextPath that flags of the command line are."""
    words = shlex.split(remedy)
    given = list(zip([word.removeprefix("--") for word in words[::2]], words[1::2], strict=True))
    return {name: (tuple(v for n, v in given if n == name) if name == "na" else value) for name, value in given}


@pytest.mark.slow
@pytest.mark.parametrize(("data", "columns"), READ.values(), ids=READ)
def test_what_the_cells_of_a_file_show_is_read_right(tmp_path, data, columns):
    (tmp_path / "rows.csv").write_bytes(data)
    assert rows_of(tmp_path / "rows.csv") == columns


@pytest.mark.slow
@pytest.mark.parametrize(("data", "remedy", "columns"), ASKED.values(), ids=ASKED)
def test_what_they_do_not_show_is_asked_for_by_an_option(tmp_path, data, remedy, columns):
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    with pytest.raises(TableFileError) as caught:
        read_table(path)
    assert remedy in str(caught.value)
    assert rows_of(TextPath(path, **options_of(remedy))) == columns


@pytest.mark.parametrize(("data", "words", "edit", "columns"), MENDED.values(), ids=MENDED)
def test_what_no_option_mends_is_named(tmp_path, data, words, edit, columns):
    path = tmp_path / "rows.csv"
    path.write_bytes(data)
    with pytest.raises(TableFileError) as caught:
        read_table(path)
    assert words in str(caught.value)
    path.write_bytes(data.replace(*edit))
    assert rows_of(path) == columns


def test_a_format_reads_dates_of_any_kind(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("d,n\n1.2.21,1\n31.12.21,2\n")
    assert rows_of(TextPath(path, dates="%d.%m.%y"))["d"] == [MONTH, DAY]
    path.write_text("d,n\n20210201 0930,1\n20211231 1815,2\n")
    assert rows_of(TextPath(path, dates="%Y%m%d %H%M"))["d"][0] == datetime.datetime(2021, 2, 1, 9, 30)


def test_a_number_is_a_missing_value_however_it_is_written(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n-999,1.5\n2,-999.0\n")
    assert rows_of(TextPath(tmp_path / "rows.csv", na="-999")) == {"a": [None, 2], "b": [1.5, None]}


def test_a_part_of_a_file_is_written_as_the_file_is(tmp_path):
    (tmp_path / "rows.csv").write_text("a;b\n" + "1,5;x\n2,25;y\n" * 5)
    split_table(tmp_path / "rows.csv", (tmp_path / "a.csv", tmp_path / "b.csv"), lambda n: [i < 2 for i in range(n)])
    assert (tmp_path / "b.csv").read_text() == "a;b\n1,5;x\n2,25;y\n"


def test_options_go_with_text(tmp_path):
    with pytest.raises(TableFileError, match="text files"):
        read_part(TextPath(tmp_path / "rows.parquet", decimal=","), Selection())


@pytest.mark.parametrize("option", [{"sep": ";;"}, {"decimal": ";"}, {"encoding": "klingon"}, {"dates": "year"}])
def test_options_that_mean_nothing_are_refused(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        TextPath("rows.csv", **option)
