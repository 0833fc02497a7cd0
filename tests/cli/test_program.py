"""The program around the commands: help, usage, errors, warnings, streams and exit statuses."""

import json
import subprocess
import sys

import click
import numpy as np
import pytest

from backwalk import Diffusion
from backwalk.cli import cli
from backwalk.table import as_table, write_table

QUICK = ["--max-steps", "5"]
COMMANDS = ("demo", "data", "split", "fit", "sample", "score", "impute", "report", "info", "playground", "course")


def test_help_is_there_for_every_command_and_loads_no_torch():
    code = """if True:
        import contextlib, sys, backwalk.cli
        for name in ["", *backwalk.cli.cli.commands]:
            with contextlib.suppress(SystemExit):
                backwalk.cli.main([*filter(None, [name]), "-h"])
        print("torch" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("Usage: backwalk") == len(cli.commands) + 1
    assert done.stdout.splitlines()[-1] == "False"
    assert set(cli.commands) == {*COMMANDS, "web"}  # which is hidden, and names the playground
    for command in cli.commands.values():
        assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))


def test_no_command_overwrites_a_file_or_works_long_for_a_place_that_cannot_be_written(
    run, model, rows_file, tmp_path, monkeypatch
):
    def never(*_, **__):
        raise AssertionError("long work")

    for work in (
        *("estimator.Diffusion.fit", "estimator.Diffusion.sample_pieces", "model.log_density"),
        *("model.impute_rows", "assess.assess", "table.split_table"),
    ):
        monkeypatch.setattr(f"backwalk.{work}", never)
    for arguments, suffix in (
        (["fit", rows_file, "-o"], "backwalk"),
        (["sample", model, "-o"], "csv"),
        (["score", model, rows_file, "-o"], "csv"),
        (["impute", model, rows_file, "-o"], "csv"),
        (["report", model, rows_file, "-o"], "html"),
        (["split", rows_file, tmp_path / "new.csv"], "csv"),
    ):
        there = tmp_path / f"there.{suffix}"
        there.write_text("mine")
        for place, words in ((there, "--force"), (rows_file / there.name, rows_file.name), (tmp_path, "")):
            status, out, err = run(*arguments, place)
            assert (status, out, err.count("\n")) == (1, "", 1), err
            assert words in err
            assert "long work" not in err
        assert there.read_text() == "mine"


def test_each_option_has_the_variable_of_its_name():
    """Found by review: --bound, --training and --json had others, and were passed over without a word."""
    for command in cli.commands.values():
        for option in command.params:
            if isinstance(option, click.Option) and option.expose_value:
                (name,) = [flag for flag in option.opts if flag.startswith("--")]
                assert option.name == name.removeprefix("--").replace("-", "_")


def test_options_can_come_from_the_environment(run, rows_file, tmp_path, monkeypatch):
    monkeypatch.setenv("BACKWALK_FIT_MAX_STEPS", "3")
    assert run("fit", rows_file, "-o", tmp_path / "model")[0] == 0
    facts = json.loads(run("info", tmp_path / "model", "--json")[1])
    assert facts["training_step_kept"].endswith("of 3")
    assert facts["network"] == "Residual(width=16, n_blocks=1, n_members=1)"
    assert facts["training"].startswith("3 steps of 256 rows")


def test_wrong_usage_is_status_2(run, model):
    assert run("sample", model, "-n", "0")[0] == 2
    assert run("sample", model, "--sampler", "magic")[0] == 2
    for wrong in (("--eta", "0.5"), ("--sampler", "ddim", "--eta", "1.5"), ("--sampler", "multistep", "--eta", "0")):
        assert run("sample", model, *wrong)[0] == 2
    assert run("sample", model, "-n", "3", "--sampler", "ddim", "--eta", "0.5")[0] == 0
    assert run("fit", "two_moons", "--epochs", "3", "-o", "never")[0] == 2
    assert run("fit", "two_moons", "--ddpm", "--max-steps", "3", "-o", "never")[0] == 2
    assert run("fit")[0] == 2
    assert run("nonsense")[0] == 2


def test_other_faults_are_one_line_and_status_1(run, model, tmp_path):
    wide = tmp_path / "wide.csv"
    write_table(wide, as_table(np.ones((25, 3)) * np.arange(25.0)[:, None]))
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n3,inf\n")
    for arguments in (
        ["fit", tmp_path / "missing.csv", "-o", tmp_path / "m"],
        ["fit", "three_moons", "-o", tmp_path / "m"],
        ["fit", tmp_path / "rows.xlsx", "-o", tmp_path / "m"],
        ["fit", model, "-o", tmp_path / "m"],
        ["info", tmp_path / "missing.backwalk"],
        ["fit", "two_moons", "-o", "."],
        ["sample", tmp_path / "missing"],
        ["sample", tmp_path],
        ["sample", wide],
        ["score", wide, model],
        ["fit", bad, "-o", tmp_path / "m"],
        ["score", model, wide],
        ["report", model, wide, "-o", tmp_path / "r.html"],
        ["sample", model, "-n", 2, "-o", "/dev/full/x.csv"],
    ):
        status, out, err = run(*arguments)
        assert (status, out) == (1, ""), arguments
        assert err.startswith("error: ")
        assert err.count("\n") == 1


def test_a_bug_of_ours_is_one_line_too(run, model, monkeypatch):
    def fault(*_, **__):
        raise KeyError("oops")

    monkeypatch.setattr("backwalk.cli.describe.describe", fault)
    status, out, err = run("info", model)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "unexpected KeyError: 'oops'" in err
    status, _, err = run("info", model, "-v")
    assert status == 1
    assert "Traceback" in err


@pytest.mark.slow
def test_json_is_one_versioned_object(run, rows_file, model, tmp_path):
    for arguments, key in (
        (["fit", rows_file, "-o", tmp_path / "other", *QUICK], "card"),
        (["sample", model, "-n", 5, "-o", tmp_path / "five.csv"], "sampler"),
        (["score", model, rows_file, "-o", tmp_path / "scores.csv"], "log_density"),
        (["info", model], "model"),
        (["info", rows_file], "table"),
    ):
        status, out, _ = run(*arguments, "--json")
        assert status == 0
        record = json.loads(out)
        assert record["version"] == 1
        assert key in record


def test_quiet_prints_nothing(run, model, rows_file):
    assert run("-q", "sample", model, "-n", 3, "-o", rows_file, "--force") == (0, "", "")
    assert run("sample", model, "-n", 3, "-o", rows_file, "--force", "-q") == (0, "", "")


def test_what_a_file_says_reaches_no_terminal_as_a_command(run, model, tmp_path):
    """Found by review: a stranger's model could set a terminal's title, and more."""
    from dataclasses import replace

    from backwalk.model_file import save

    found = Diffusion.load(model).model_
    schema = replace(found.schema, columns=("\x1b]0;owned\x07", "weight\u202e"))
    hostile = replace(found, card={**found.card, "description": "\x1b[2J\rok\x9b1m"}, schema=schema)
    save(hostile, tmp_path / "m")
    for arguments in (["info", tmp_path / "m"], ["score", tmp_path / "m", tmp_path / "\x1b[2J.csv"]):
        _, out, err = run(*arguments)
        assert not set("\x1b\x07\r\x9b\u202e") & set(out + err)
        assert "\\x1b[2J" in out + err


@pytest.mark.slow
def test_it_runs_as_a_module_and_a_closed_pipe_is_no_fault(model):
    command = (
        f"{sys.executable} -m backwalk -q sample {model} -n 5000 --evaluations 2 | head -1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == '"length","weight"\n'
