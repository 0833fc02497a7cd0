"""Damaged and hostile table files: each is refused in one line, or read as a table that passes every check.

The files and the checks are those of `soak.table_files`, of which the long campaigns try many more, and larger ones.
"""

from functools import partial

import numpy as np
import pytest

from soak.material import mutated
from soak.table_files import HOSTILE, SUFFIXES, check, whole


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_in_which_a_few_bytes_are_others(tmp_path, suffix):
    rng = np.random.default_rng(7)
    for _ in range(100):
        check(tmp_path, suffix, partial(mutated, whole(suffix), rng))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_that_are_cut_off(tmp_path, suffix):
    content = whole(suffix)
    for length in np.unique(np.linspace(0, len(content) - 1, 100).astype(int)):
        check(tmp_path, suffix, lambda length=length: content[:length])


@pytest.mark.parametrize(("suffix", "make"), HOSTILE, ids=range(len(HOSTILE)))
def test_files_that_are_made_to_harm(tmp_path, suffix, make):
    check(tmp_path, suffix, make)
