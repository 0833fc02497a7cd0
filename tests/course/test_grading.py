"""Grading: a class of notebooks, right, wrong, crashing and endless, becomes a table of students and exercises."""

import inspect
import io
import json
import textwrap
import time
from pathlib import Path

import pytest

from backwalk.course import EXERCISES, GradedNotebook, GradedStudent, grade, grade_notebook, write_lessons
from backwalk.course.grading import notebooks_by_student
from backwalk.course.run_notebook import code_cells, run_cells
from backwalk.errors import InvalidInput
from tests.course.solutions import Torch

RIGHT = "def snr(t, alpha_bar):\n    return alpha_bar[t] / (1 - alpha_bar[t])\n"
WRONG = "def snr(t, alpha_bar):\n    return (1 - alpha_bar[t]) / alpha_bar[t]\n"
STUB = "def eps_to_x0(x_t, eps, t, alpha_bar):\n    raise NotImplementedError\n"


def write_notebook(path, *sources):
    """Write code cells as a notebook; a source that begins with `# demonstration` is tagged as one."""
    cells = [
        {
            "cell_type": "code",
            "metadata": {"tags": ["demonstration"]} if source.startswith("# demonstration") else {},
            "source": source.splitlines(keepends=True),
        }
        for source in sources
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "text"}, *cells], "nbformat": 4}))
    return path


def results_of(*sources):
    """Run cells in this process; return the last state of each exercise, and the errors."""
    file = io.StringIO()
    run_cells(list(enumerate(sources, start=1)), file)
    entries = [json.loads(line) for line in file.getvalue().splitlines()]
    assert entries[-1] == {"done": True}
    states = {entry["exercise"]: entry["state"] for entry in entries if "exercise" in entry}
    return states, [entry["error"] for entry in entries if "error" in entry]


def test_functions_are_checked_whatever_else_fails():
    states, errors = results_of(
        "import torch", RIGHT, "1 / 0", STUB, "check('snr', snr)", "%matplotlib inline\nx = 1", "x +"
    )
    assert states == {"snr": "passed", "eps_to_x0": "unwritten"}
    assert [error.split(": ")[:2] for error in errors] == [
        ["cell 3", "ZeroDivisionError"],
        ["cell 5", "NameError"],  # the student deleted the cell that imports it
        ["cell 7", "SyntaxError"],
    ]


def test_the_last_definition_counts_and_helpers_may_come_later():
    assert results_of(RIGHT, WRONG)[0] == {"snr": "failed"}
    assert results_of(
        "def snr(t, alpha_bar):\n    return ratio(alpha_bar[t])", "def ratio(a):\n    return a / (1 - a)"
    ) == (
        {"snr": "passed"},
        [],
    )
    assert results_of("snr = 3") == ({}, [])


def test_a_cell_of_another_language_is_passed_over():
    assert results_of("%%bash\nls", RIGHT) == ({"snr": "passed"}, [])


def test_demonstrations_do_not_run(tmp_path):
    notebook = json.loads(write_notebook(tmp_path / "a.ipynb", RIGHT, "# demonstration\n1 / 0").read_text())
    assert list(code_cells(notebook)) == [(2, RIGHT)]


@pytest.mark.parametrize(
    ("files", "given", "students"),
    [
        (
            ["alice/1_noise_forward.ipynb", "bob/2_backward.ipynb"],
            ["alice/1_noise_forward.ipynb", "bob/2_backward.ipynb"],
            "alice bob",
        ),
        (
            ["1_noise_forward_alice.ipynb", "bob - 2_backward (1).ipynb"],
            ["1_noise_forward_alice.ipynb", "bob - 2_backward (1).ipynb"],
            "alice bob",
        ),
        (["alice.ipynb", "2_backward_alice-Copy1.ipynb"], ["alice.ipynb", "2_backward_alice-Copy1.ipynb"], "alice"),
        (["class/alice/course/1_noise_forward.ipynb", "class/bob.ipynb"], ["class"], "alice bob"),
        (["class/alice/a.ipynb", "class/alice/.ipynb_checkpoints/a.ipynb"], ["class"], "alice"),
    ],
)
def test_students_are_named_by_folders_and_files(files, given, students, tmp_path):
    for file in files:
        write_notebook(tmp_path / file)
    found = notebooks_by_student([tmp_path / name for name in given])
    assert " ".join(sorted(found)) == students
    assert sum(map(len, found.values())) == len([file for file in files if "checkpoints" not in file])


def test_the_best_state_of_an_exercise_counts():
    student = GradedStudent(
        "alice",
        (
            GradedNotebook(Path("a.ipynb"), {"snr": "passed", "q_sample": "unwritten"}),
            GradedNotebook(Path("b.ipynb"), {"snr": "failed", "q_sample": "failed"}, notes=("stopped",)),
        ),
    )
    assert (student.states["snr"], student.states["q_sample"], student.states["prior_term"]) == (
        "passed",
        "failed",
        "missing",
    )
    assert list(student.states) == list(EXERCISES)
    assert student.n_passed == 1
    assert student.notes == ("b.ipynb: stopped",)


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="nowhere is not there"):
        grade([tmp_path / "nowhere"])
    with pytest.raises(InvalidInput, match="there is none"):
        grade([tmp_path])


@pytest.mark.campaign
def test_a_class_with_a_right_a_wrong_a_crashing_and_an_endless_notebook(tmp_path):
    write_lessons(tmp_path / "right")
    for path in (tmp_path / "right").iterdir():
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            source = "".join(cell["source"])
            if "raise NotImplementedError" in source and cell["cell_type"] == "code":
                name = source.split("(")[0].removeprefix("def ")
                cell["source"] = textwrap.dedent(inspect.getsource(getattr(Torch, name)))
        path.write_text(json.dumps(notebook), encoding="utf-8")
    write_notebook(tmp_path / "wrong" / "a.ipynb", WRONG)
    write_notebook(tmp_path / "crashing" / "a.ipynb", RIGHT, "import os\nos._exit(3)", WRONG)
    write_notebook(tmp_path / "endless" / "a.ipynb", RIGHT, "import time\nwhile True:\n    time.sleep(1)", WRONG)
    write_notebook(tmp_path / "large" / "a.ipynb", "x = bytearray(2**36)", RIGHT, "input()", "open('/' * 3 + 'x')")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.ipynb").write_text("no notebook")
    crashing, endless, large, right, text, wrong = grade([tmp_path], seconds=40.0)
    assert right.n_passed == len(EXERCISES)
    assert right.notes == ()
    assert (wrong.states["snr"], wrong.n_passed) == ("failed", 0)
    assert "Hint: " in wrong.notebooks[0].texts["snr"]
    assert crashing.states["snr"] == endless.states["snr"] == large.states["snr"] == "passed"
    assert crashing.notes == ("a.ipynb: stopped with status 3 in cell 3; later cells did not run",)
    assert endless.notes == ("a.ipynb: stopped after 40 s in cell 3; later cells did not run",)
    assert [note.split(": ")[1:3] for note in large.notes] == [
        ["cell 2", "MemoryError"],
        ["cell 4", "EOFError"],
        ["cell 5", "FileNotFoundError"],
    ]
    assert text.notes == ("a.ipynb: stopped with status 1 before its first cell: is it a notebook?",)


@pytest.fixture
def touching(tmp_path):
    """A notebook that starts a process, which touches a file for ever, and then never ends; gives both."""
    mark = tmp_path / "alive"
    code = f"import time, pathlib\nwhile True:\n    pathlib.Path({str(mark)!r}).touch()\n    time.sleep(0.2)"
    cells = [
        f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {code!r}])",
        "import time\ntime.sleep(1000)",
    ]
    return write_notebook(tmp_path / "a.ipynb", *cells), mark


def is_touched(mark):
    mark.unlink()
    time.sleep(1.0)
    return mark.exists()


@pytest.mark.campaign
def test_a_notebook_takes_its_processes_with_it(touching):
    notebook, mark = touching
    assert "stopped after 20 s in cell 3" in grade_notebook(notebook, seconds=20.0).notes[0]
    assert not is_touched(mark)


@pytest.mark.campaign
def test_stopping_the_grading_stops_the_notebooks(touching, tmp_path):
    notebook, mark = touching

    def wait_and_stop(*_):
        while not mark.exists():
            time.sleep(0.1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade([write_notebook(tmp_path / "b.ipynb", RIGHT), notebook], seconds=500.0, watch=wait_and_stop)
    assert not is_touched(mark)
