"""SIGKILL at random moments: what is on the disk is whole, and the next call writes."""

import numpy as np
import pytest

from backwalk.cli import main
from backwalk.table import as_table, read_table, write_table
from tests.trials.children import forked, left

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("case", range(6))
def test_a_killed_command_leaves_the_old_rows_or_the_new_ones_whole(case, fitted, tmp_path):
    path, model = tmp_path / f"rows{('.csv', '.parquet')[case % 2]}", tmp_path / "model"
    old, new = (fitted.sample(n, random_state=1, n_evaluations=2) for n in (50, 3001))
    write_table(path, as_table(old))
    fitted.save(model)
    command = ["sample", str(model), "-n", "3001", "--evaluations", "2", "--seed", "1", "--force", "-o", str(path)]
    pid = forked(lambda: main(command), tmp_path / "log")
    status = left(pid, 60.0 if case == 0 else np.random.default_rng(case).uniform(0.0, 0.3))
    assert status in (None, 0), (tmp_path / "log").read_text()
    values = read_table(path).values
    assert status is None or len(values) == len(new)
    np.testing.assert_array_equal(values, old if len(values) == len(old) else new)
