"""A model, its rows in one process, and the command that draws the same rows in parts."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from backwalk.pieces import PartsFolder
from tests.scale import hosts

N_PARTS, SEED = 16, 1
PART_ROWS = 2048 * max(int(os.environ.get("BACKWALK_SCALE_ROWS", N_PARTS * 8192)) // (2048 * N_PARTS), 1)
ROWS = N_PARTS * PART_ROWS
LONGEST = 180 + ROWS // 10_000  # seconds of a command
RAY_WORKER = "ray::_make_on_host"  # what Ray calls the process that makes a part


@dataclass(frozen=True)
class Drawn:
    """A saved model, and the checksum of the rows that one process draws from it."""

    model: Path
    values: str


def backwalk(*arguments):
    """Return a command of backwalk."""
    return [sys.executable, "-m", "backwalk", *map(str, arguments)]


def command(model, folder, *options):
    """Return the command that draws the rows into a folder."""
    sizes = ["-n", ROWS, "--part-rows", PART_ROWS, "--seed", SEED]
    return backwalk("sample", model, "-o", f"{folder}/", *sizes, *options)


def started(*arguments, **settings):
    """Start the command with pipes for what it prints."""
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)


def result(process):
    """Wait for a command with --json to succeed, and return what it printed."""
    said, errors = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, errors
    return json.loads(said)


def parts(folder):
    """Return the names of the parts in a folder."""
    return sorted(path.name for path in Path(folder).glob("part-*.parquet"))


def all_whole(folder):
    """Return whether every part in a folder has its record and the bytes that it was written with."""
    place = PartsFolder(folder)
    known = [part for part in place.parts(place.job()) if place.is_whole(part)]
    return {place.path_of(part.start, part.stop).name for part in known} == set(parts(folder))


def makers(pid):
    """Return the numbers of the workers of Ray below a process that are making a part."""
    return [each for each, line in hosts.below(pid) if line.startswith(RAY_WORKER)]


def environment(**changes):
    """Return this environment with changes, for a cluster that the test itself starts."""
    return {**os.environ, **changes}
