"""The program around the commands: help, usage, errors, warnings, streams and exit statuses."""

import io
import json
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from backwalk import Diffusion
from backwalk.cli import cli, console
from backwalk.table import as_table, write_table

QUICK = ["--max-steps", "5"]
COMMANDS = ("demo", "split", "fit", "sample", "score", "impute", "report", "info", "playground", "course")


def test_help_is_there_for_every_command(run):
    status, out, _ = run("-h")
    assert (status, set(cli.commands)) == (0, set(COMMANDS))
    for command in COMMANDS:
        assert command in out
        status, text, _ = run(command, "-h")
        assert status == 0
        assert all(parameter.help for parameter in cli.commands[command].params if isinstance(parameter, click.Option))
        assert "Usage: backwalk" in text


def test_help_loads_no_torch():
    code = """if True:
        import sys, backwalk.cli
        try:
            backwalk.cli.main(["fit", "-h"])
        except SystemExit:
            assert "torch" not in sys.modules
    """
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


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
    assert facts["network"] == "Residual(width=16, n_blocks=1, n_members=2)"
    assert facts["training"].startswith("3 steps of 256 rows per member")


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "rows.csv", "-o", "m", "--rows", "9"], "--rows goes with a built-in density"),
        (["split", "rows.csv", "a.csv", "b.csv", "--rows", "9"], "--rows goes with a built-in density"),
        (["fit", "two_moons", "-o", "m", "--drop", "x1"], "--drop goes with a file"),
    ],
)
def test_options_of_another_kind_of_source_are_refused(run, rows_file, tmp_path, monkeypatch, arguments, words):
    """Found by review: --rows was passed over for a file."""
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert words in err


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("a,b\n1,2\n3,inf\n", "inf"),
        ("a,b\n1,x\n2,\xff\n", "UTF-8"),
        ("a,b\n1,2\n1,2\n", "constant"),
    ],
)
def test_bad_tables_are_one_line_and_status_1(run, tmp_path, content, part):
    path = tmp_path / "bad.csv"
    path.write_text(content, encoding="latin-1")
    status, out, err = run("fit", path, "-o", tmp_path / "model", *QUICK)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert part in err
    assert not (tmp_path / "model").exists()


def test_other_faults_are_one_line_and_status_1(run, model, tmp_path):
    wide = tmp_path / "wide.csv"
    write_table(wide, as_table(np.ones((25, 3)) * np.arange(25.0)[:, None]))
    for arguments in (
        ["fit", tmp_path / "missing.csv", "-o", tmp_path / "m"],
        ["fit", "three_moons", "-o", tmp_path / "m"],
        ["fit", tmp_path / "rows.xlsx", "-o", tmp_path / "m"],
        ["fit", model, "-o", tmp_path / "m"],
        ["info", tmp_path / "missing.backwalk"],
        ["fit", "two_moons", "-o", "."],
        ["sample", tmp_path / "missing"],
        ["sample", tmp_path],
        ["score", model, wide],
        ["report", model, wide, "-o", tmp_path / "r.html"],
        ["sample", model, "-n", 2, "-o", "/dev/full/x.csv"],
    ):
        status, out, err = run(*arguments)
        assert (status, out) == (1, ""), arguments
        assert err.startswith("error: ")
        assert err.count("\n") == 1


def test_what_is_no_model_is_called_what_it_is(run, model, rows_file, tmp_path):
    folder = f"{tmp_path} cannot be read: it should be a file, but is a folder"
    report = ["-o", tmp_path / "r.html"]
    for arguments, words, is_swapped in (
        (["sample", tmp_path], folder, False),
        (["sample", rows_file], "is a table", False),
        (["score", rows_file, model], str(rows_file), True),
        (["report", rows_file, model, *report], str(rows_file), True),
    ):
        status, _, err = run(*arguments)
        assert (status, words in err, "MODEL comes first" in err) == (1, True, is_swapped), err


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


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (OSError("libcudart.so.12: cannot open"), "error: libcudart.so.12: cannot open\n"),  # not of standard output
        (RuntimeError("CUDA error: no kernel"), "--device cpu avoids the GPU"),
    ],
)
def test_a_library_that_fails_is_named_with_the_way_around_it(run, model, monkeypatch, fault, words):
    """Found by review."""

    def load(*_, **__):
        raise fault

    monkeypatch.setattr(Diffusion, "load", load)
    status, _, err = run("sample", model)
    assert (status, words in err) == (1, True), err


def test_ctrl_c_is_status_130(run, model, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("backwalk.estimator.Diffusion.sample_pieces", interrupted)
    assert run("sample", model)[0] == 130


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


def test_a_device_that_is_none_is_refused(run, model, rows_file, tmp_path):
    for command in (
        ["demo", "-o", tmp_path / "demo"],
        ["fit", rows_file, "-o", tmp_path / "never"],
        ["sample", model],
        ["score", model, rows_file],
        ["report", model, rows_file, "-o", tmp_path / "r.html"],
    ):
        status, out, err = run(*command, "--device", "warp")
        assert (status, out, "device should be" in err) == (1, "", True), err


@pytest.mark.slow
def test_long_work_shows_now_and_then_how_far_it_is(run, model, rows_file, tmp_path, monkeypatch):
    monkeypatch.setattr("backwalk.fit.progress.SECONDS_BETWEEN_LINES", 1e-9)
    monkeypatch.setattr("backwalk.model.tiles.rows_at_once", lambda *_: 50)
    _, _, err = run("score", model, rows_file, "-o", tmp_path / "s.csv")
    lines = [line.split(maxsplit=3) for line in err.splitlines()[:-1]]
    assert [(line[0], line[1], line[3]) for line in lines] == [
        ("scoring", "42%", "50 of 120 rows"),
        ("scoring", "83%", "100 of 120 rows"),
        ("scoring", "100%", "120 of 120 rows"),
    ]
    assert "sampling 100%" in run("sample", model, "-n", 9, "-o", tmp_path / "n.csv")[2]
    monkeypatch.undo()
    assert run("score", model, rows_file, "-o", tmp_path / "at_once.csv")[2] == err.splitlines()[-1] + "\n"


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


def test_a_terminal_without_a_letter_gets_it_written_out(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    console.echo("difference −0.1 ±")
    assert stream.buffer.getvalue() == b"difference \\u22120.1 \xb1\n"


@pytest.mark.slow
def test_it_runs_as_a_module_and_a_closed_pipe_is_no_fault(model):
    command = (
        f"{sys.executable} -m backwalk -q sample {model} -n 5000 --evaluations 2 | head -1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == '"length","weight"\n'


@pytest.mark.slow
def test_a_full_standard_output_is_named():
    """Found by review: the status was Python's own, or no path was named."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "backwalk", "info", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "error: standard output cannot be written: No space left on device\n",
    )
