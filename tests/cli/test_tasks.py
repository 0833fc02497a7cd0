"""Tasks are plain functions: a web page calls them with plain arguments, and gets messages, progress and records."""

import json

import pytest

from backwalk.errors import IncompatibleArguments
from backwalk.formatting import as_json
from backwalk.tasks.fit import fit
from backwalk.tasks.observer import Observer
from backwalk.tasks.sample import sample
from backwalk.tasks.score import score


def test_a_table_goes_from_fit_to_scores_by_functions_alone(rows_file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    messages, progress, steps = [], [], []
    observer = Observer(
        message=messages.append, progress=lambda *given: progress.append(given), callbacks=[steps.append]
    )
    fitted = fit(str(rows_file), max_steps=4, observer=observer)
    drawn = sample(fitted.path, "new.csv", rows=7, observer=observer)
    scored = score(fitted.path, "new.csv", "nats.csv", observer=observer)
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert [line.split()[:2] for line in messages[1:3]] == [["length", "number"], ["weight", "number"]]
    assert messages[3].startswith("fitted 120 rows in ")
    assert "4 steps of" in messages[3]
    assert f"--seed {drawn.seed}" in messages[4]
    assert progress == [("sampling", 1.0, "7 of 7 rows"), ("scoring", 1.0, "7 of 7 rows")]
    assert scored.table.num_rows == scored.rows == 7
    for result in (fitted, drawn, scored):
        json.dumps(as_json(result.record()), allow_nan=False)
    assert capsys.readouterr() == ("", "")


def test_arguments_that_do_not_go_together_are_an_error_of_their_own(rows_file, tmp_path):
    with pytest.raises(IncompatibleArguments, match="--epochs"):
        fit(str(rows_file), tmp_path / "m", epochs=3)
