"""Tables: column names, units and files, and nothing about models.

`read_table` and `as_table` take in files, arrays and DataFrames, `Codec` turns their columns into encoded units and
back, and `from_values`, `write_table` and `write_rows` give rows out as they came. `read_within` reads files
larger than memory, and `split_table` splits a file's rows.
"""

from backwalk.table.aside import set_aside
from backwalk.table.atoms_column import AtomsColumn
from backwalk.table.choose_columns import fit_codec, refit_codec
from backwalk.table.codec import Codec, Redraw
from backwalk.table.column_options import Levels, Number, Option
from backwalk.table.columns import Block, Column, ConstantColumn, nearest_index, off_atoms
from backwalk.table.doubts import find_doubts
from backwalk.table.files import SUFFIXES, is_pattern, table_files
from backwalk.table.frame import FILL_GAPS, Table, as_table, complete, only_numbers
from backwalk.table.grids import Grid
from backwalk.table.level_column import LevelsColumn
from backwalk.table.maps import Asinh, Boundary, Spline
from backwalk.table.matching import label_words, match_columns
from backwalk.table.number_column import NumberColumn
from backwalk.table.reading import (
    RowsThatFit,
    most_rows,
    read_part,
    read_table,
    read_within,
)
from backwalk.table.relation import Relation, priorities_of
from backwalk.table.repeated import repeated_values
from backwalk.table.rewriting import read_labels, split_table, write_filled, write_labelled
from backwalk.table.rule_system import LevelRule, RuleSystem
from backwalk.table.rules import Computed, Copy, Determines, Order, Rule, Total, parse_rule
from backwalk.table.schema import Schema
from backwalk.table.selection import Selection
from backwalk.table.sources import Watch
from backwalk.table.values import from_values
from backwalk.table.writing import check_table_path, write_rows, write_table
from backwalk.text_options import StrPath, TextOptions, TextPath

__all__ = [
    "FILL_GAPS",
    "SUFFIXES",
    "Asinh",
    "AtomsColumn",
    "Block",
    "Boundary",
    "Codec",
    "Column",
    "Computed",
    "ConstantColumn",
    "Copy",
    "Determines",
    "Grid",
    "LevelRule",
    "Levels",
    "LevelsColumn",
    "Number",
    "NumberColumn",
    "Option",
    "Order",
    "Redraw",
    "Relation",
    "RowsThatFit",
    "Rule",
    "RuleSystem",
    "Schema",
    "Selection",
    "Spline",
    "StrPath",
    "Table",
    "TextOptions",
    "TextPath",
    "Total",
    "Watch",
    "as_table",
    "check_table_path",
    "complete",
    "find_doubts",
    "fit_codec",
    "from_values",
    "is_pattern",
    "label_words",
    "match_columns",
    "most_rows",
    "nearest_index",
    "off_atoms",
    "only_numbers",
    "parse_rule",
    "priorities_of",
    "read_labels",
    "read_part",
    "read_table",
    "read_within",
    "refit_codec",
    "repeated_values",
    "set_aside",
    "split_table",
    "table_files",
    "write_filled",
    "write_labelled",
    "write_rows",
    "write_table",
]
