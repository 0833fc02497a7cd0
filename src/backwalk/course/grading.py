"""Grade the notebooks of a class.

Each notebook runs in a process of its own with limits of time and memory. These protect from endless loops and from
arrays that are too large, not from malice: a notebook can read and change what its reader can.
docs/how-to/teach-the-course.md says what to do about that.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backwalk.course.laws import EXERCISES
from backwalk.course.notebooks import LESSONS
from backwalk.errors import InvalidInput

SECONDS = 60.0
MEMORY = 4 * 2**30


@dataclass(frozen=True)
class GradedNotebook:
    """The outcome of one notebook.

    `grade_notebook` returns it, and `grade` for each notebook of a class.

    Parameters
    ----------
    path : Path
        The notebook.
    states : dict
        "passed", "failed" or "unwritten" for each exercise of which it defines a function.
    texts : dict
        What the check says of each.
    notes : tuple of str, default=()
        Errors of its cells, and whether it was stopped.

    See Also
    --------
    grade_notebook : The function that makes it.
    GradedStudent : A student's notebooks together.

    Examples
    --------
    >>> from pathlib import Path
    >>> from backwalk.course import GradedNotebook
    >>> GradedNotebook(Path("1_noise_forward.ipynb"), {"snr": "passed"}).states["snr"]
    'passed'
    """

    path: Path
    states: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GradedStudent:
    """The outcome of a student's notebooks together.

    Of an exercise that is in several, the best state counts.

    Parameters
    ----------
    name : str
        The student.
    notebooks : tuple of GradedNotebook
        The notebooks.

    See Also
    --------
    grade : The function that makes them.

    Examples
    --------
    >>> from pathlib import Path
    >>> from backwalk.course import GradedNotebook, GradedStudent
    >>> student = GradedStudent("alice", (GradedNotebook(Path("1_noise_forward.ipynb"), {"snr": "passed"}),))
    >>> student.n_passed, student.states["q_sample"]
    (1, 'missing')
    """

    name: str
    notebooks: tuple[GradedNotebook, ...]

    @property
    def states(self) -> dict[str, str]:
        """The state of each exercise: "passed", "failed", "unwritten", or "missing" where no notebook defines it."""
        order = ("missing", "unwritten", "failed", "passed")
        found = [notebook.states for notebook in self.notebooks]
        return {name: max((states.get(name, "missing") for states in found), key=order.index) for name in EXERCISES}

    @property
    def n_passed(self) -> int:
        """The number of exercises that are right."""
        return list(self.states.values()).count("passed")

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of all notebooks, each with the name of its file."""
        return tuple(f"{notebook.path.name}: {note}" for notebook in self.notebooks for note in notebook.notes)


def grade(
    paths: Iterable[str | Path],
    *,
    seconds: float = SECONDS,
    memory: int = MEMORY,
    watch: Callable[[str, float, str], object] = lambda *_: None,
) -> list[GradedStudent]:
    """Grade the notebooks of a class, as many at a time as there are processors.

    Parameters
    ----------
    paths : iterable of str or Path
        Notebooks, and folders of a class with a folder or a notebook for each student. A notebook in a folder of a
        class belongs to the student after whom its folder there is named. Any other belongs to the student whom its
        file names beside the lesson (2_backward_alice.ipynb, alice.ipynb), or else its folder (alice/2_backward.ipynb).
    seconds : float, default=60
        The time for each notebook.
    memory : int, default=4 GiB
        The bytes for each notebook.
    watch : callable, optional
        Called as watch(activity, share, words) after each notebook.

    Returns
    -------
    list of GradedStudent
        The students in the order of their names.

    Raises
    ------
    InvalidInput
        If there is no notebook.

    See Also
    --------
    grade_notebook : The same for one notebook.

    Examples
    --------
    >>> import tempfile
    >>> from backwalk.course import grade, write_lessons
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first, *_ = write_lessons(folder)
    ...     [student] = grade([first])
    >>> student.states["q_sample"]
    'unwritten'
    """
    students = notebooks_by_student([Path(path) for path in paths])
    every = [path for of_student in students.values() for path in of_student]
    if not every:
        raise InvalidInput("There should be notebooks to grade, but there is none: name .ipynb files, or their folder.")
    graded: dict[Path, GradedNotebook] = {}
    processes: list[subprocess.Popen[bytes]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            for notebook in pool.map(lambda path: _grade(path, seconds, memory, processes), every):
                graded[notebook.path] = notebook
                watch("grading", len(graded) / len(every), f"{len(graded)} of {len(every)} notebooks")
        except BaseException:  # Ctrl-C: the notebooks that run do not hear it
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                _kill(process)
            raise
    return [GradedStudent(name, tuple(graded[path] for path in students[name])) for name in sorted(students)]


def grade_notebook(path: str | Path, *, seconds: float = SECONDS, memory: int = MEMORY) -> GradedNotebook:
    """Run a notebook in its own process, within limits of time and memory, and check its exercises.

    It runs in an empty folder, without input. What it prints is not kept.

    Parameters
    ----------
    path : str or Path
        The notebook.
    seconds : float, default=60
        The limit of time.
    memory : int, default=4 GiB
        The limit of memory, in bytes. Windows has no such limit.

    Returns
    -------
    GradedNotebook
        The outcome.

    See Also
    --------
    grade : The same for the notebooks of a class.

    Examples
    --------
    >>> import tempfile
    >>> from backwalk.course import grade_notebook, write_lessons
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first, *_ = write_lessons(folder)
    ...     grade_notebook(first).states["snr"]
    'unwritten'
    """
    return _grade(Path(path), seconds, memory, [])


def _grade(path: Path, seconds: float, memory: int, processes: list[subprocess.Popen[bytes]]) -> GradedNotebook:
    """Grade one notebook; its process is added to a list, so that another thread can end it."""
    with tempfile.TemporaryDirectory(prefix="backwalk-grading-") as folder:
        results, place = Path(folder, "results"), Path(folder, "place")
        place.mkdir()
        program = [sys.executable, "-P", "-m", "backwalk.course.run_notebook"]  # -P: imports nothing from its folder
        process = subprocess.Popen(
            [*program, str(path.resolve()), str(results), str(memory)],
            cwd=place,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        processes.append(process)
        try:
            stopped = f"stopped with status {process.wait(seconds)}"
        except subprocess.TimeoutExpired:
            stopped = f"stopped after {seconds:g} s"
        finally:
            _kill(process)
            processes.remove(process)
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return _read_results(path, [json.loads(line) for line in lines if line.endswith("}")], stopped)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process with those that it started."""
    with suppress(OSError):  # it may have ended
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _read_results(path: Path, entries: list[dict[str, Any]], stopped: str) -> GradedNotebook:
    """Return what the lines of a file of results say, with how the process ended if it did not reach the end."""
    outcomes = {entry["exercise"]: entry for entry in entries if "exercise" in entry}  # the last of each
    notes = [entry["error"] for entry in entries if "error" in entry]
    cells = [entry["cell"] for entry in entries if "cell" in entry]
    if not cells:
        notes.append(f"{stopped} before its first cell: is it a notebook?")
    elif "done" not in entries[-1]:
        notes.append(f"{stopped} in cell {cells[-1]}; later cells did not run")
    states = {name: str(outcome["state"]) for name, outcome in outcomes.items()}
    return GradedNotebook(
        path, states, {name: str(outcome["text"]) for name, outcome in outcomes.items()}, tuple(notes)
    )


def notebooks_by_student(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the notebooks of each student."""
    students: dict[str, list[Path]] = {}
    for path in paths:
        if not path.exists():
            raise InvalidInput(f"There should be a notebook or a folder, but {path} is not there: check its name.")
        if path.is_file():
            students.setdefault(_student_of(path) or path.absolute().parent.name, []).append(path)
            continue
        for notebook in sorted(path.rglob("*.ipynb")):
            first, *others = notebook.relative_to(path).parts
            if ".ipynb_checkpoints" not in others:
                students.setdefault(first if others else _student_of(notebook) or notebook.stem, []).append(notebook)
    return students


def _student_of(path: Path) -> str:
    """Return what the name of a file says beside the lesson, or an empty text."""
    name = re.sub(r"( ?\(\d+\)|-Copy\d+)$", "", path.stem)  # a second download, or a copy in Jupyter
    for lesson in LESSONS:
        name = name.replace(lesson, "")
    return name.strip(" _-.")
