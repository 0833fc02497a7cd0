"""`backwalk course` writes notebooks, and `backwalk course grade` a table of students and exercises."""

import csv
import json
from pathlib import Path

import pytest

import backwalk.course
from backwalk.course import EXERCISES, LESSONS, GradedNotebook, GradedStudent


@pytest.fixture
def graded(monkeypatch):
    """Let `grade` find two students, and run no notebook; gives what it was called with."""
    calls = {}
    students = [
        GradedStudent("=alice", (GradedNotebook(Path("a.ipynb"), {"snr": "passed", "q_sample": "failed"}),)),
        GradedStudent(
            "bob", (GradedNotebook(Path("b.ipynb"), {"snr": "unwritten"}, {"snr": "not yet"}, ("stopped",)),)
        ),
    ]

    def grade(paths, **options):
        calls.update(paths=paths, **options)
        return students

    monkeypatch.setattr(backwalk.course, "grade", grade)
    return calls


def test_the_course_is_written_once(run, tmp_path):
    folder = tmp_path / "new" / "course"
    status, out, err = run("course", folder)
    assert (status, out) == (0, "")
    assert [Path(line).stem for line in err.splitlines()[:4]] == list(LESSONS)
    status, _, err = run("course", folder)
    assert (status, "exists already" in err) == (1, True)
    assert run("course", folder, "--force")[0] == 0
    assert run("course", "write", folder, "--force", "-q")[2] == ""
    assert run("course")[0] == 2


def test_grades_are_a_table(run, graded, tmp_path):
    file = tmp_path / "grades.csv"
    status, out, _ = run("course", "grade", "a.ipynb", "b.ipynb", "-o", file, "--max-time", "5", "--memory", "1GiB")
    assert status == 0
    assert {name: graded[name] for name in ("paths", "seconds", "memory")} == {
        "paths": (Path("a.ipynb"), Path("b.ipynb")),
        "seconds": 5.0,
        "memory": 2**30,
    }
    head, alice, bob, *rest = out.splitlines()
    assert head.split() == ["student", *map(str, range(1, 13)), "passed"]
    assert alice.split() == ["=alice", "-", "+", "1"]
    assert bob.split() == ["bob", ".", "0"]
    assert rest[-1] == "bob: b.ipynb: stopped"
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [row["student"] for row in rows] == ["'=alice", "bob"]
    assert (rows[0]["snr"], rows[0]["passed"], rows[0]["notes"]) == ("passed", "1", "")
    assert (rows[1]["snr"], rows[1]["notes"]) == ("unwritten", "b.ipynb: stopped")
    assert set(EXERCISES) < set(rows[0])
    assert run("course", "grade", "a.ipynb", "-o", file)[0] == 1


def test_grades_as_json_hold_what_the_checks_say(run, graded):
    reply = json.loads(run("course", "grade", "a.ipynb", "--json")[1])
    assert [student["student"] for student in reply["students"]] == ["=alice", "bob"]
    assert reply["students"][1]["checks"] == {"snr": "not yet"}


def test_what_is_not_there_is_an_error(run, tmp_path):
    assert "no.ipynb is not there" in run("course", "grade", tmp_path / "no.ipynb")[2]
    assert "there is none" in run("course", "grade", tmp_path)[2]
