"""Parts that are made by Ray on this machine: the same values as in one process, whoever is lost on the way."""

import os
import signal
import subprocess

import pytest

from tests.scale import hosts, runs

pytestmark = pytest.mark.usefixtures("has_ray")


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_rows(drawn, tmp_path, workers):
    made = runs.started(
        *runs.command(drawn.model, tmp_path / "rows", "--engine", "ray", "--workers", workers, "--json")
    )
    assert runs.result(made)["values"] == drawn.values
    assert runs.all_whole(tmp_path / "rows")


def test_a_killed_worker_costs_time_alone(drawn, tmp_path):
    folder = tmp_path / "rows"
    made = runs.started(*runs.command(drawn.model, folder, "--engine", "ray", "--workers", 2, "--json"))
    hosts.until(lambda: runs.parts(folder), seconds=runs.LONGEST)
    os.kill(hosts.until(lambda: runs.makers(made.pid))[0], signal.SIGKILL)
    assert len(runs.parts(folder)) < runs.N_PARTS
    assert runs.result(made)["values"] == drawn.values


def test_it_listens_on_the_loopback_alone(drawn, tmp_path):
    folder = tmp_path / "rows"
    made = runs.started(*runs.command(drawn.model, folder, "--engine", "ray", "--workers", 1, "--json"))
    hosts.until(lambda: runs.makers(made.pid), seconds=runs.LONGEST)
    found = hosts.listening(pid for pid, _ in hosts.below(made.pid))
    assert len(found) > 3
    assert set(found) <= {"127.0.0.1", "::1"}
    assert runs.result(made)["values"] == drawn.values


def test_ctrl_c_leaves_whole_parts_and_no_process(drawn, tmp_path):
    folder = tmp_path / "rows"
    made = runs.started(*runs.command(drawn.model, folder, "--engine", "ray", "--workers", 2))
    hosts.until(lambda: runs.makers(made.pid) and runs.parts(folder), seconds=runs.LONGEST)
    below = hosts.below(made.pid)
    made.send_signal(signal.SIGINT)
    _, said = made.communicate(timeout=runs.LONGEST)
    assert (made.returncode, "Traceback" in said) == (130, False), said
    hosts.until(lambda: not {pid for pid, _ in below} & {pid for pid, _ in hosts.processes()})
    there = runs.parts(folder)
    assert 0 < len(there) < runs.N_PARTS
    assert runs.all_whole(folder)
    again = runs.result(runs.started(*runs.command(drawn.model, folder, "--json")))
    assert (again["parts_found"], again["values"]) == (len(there), drawn.values)


def test_scores_of_a_file_are_those_of_one_process(drawn, tmp_path):
    """Paths are those of the command, also where a worker's folder is another."""
    subprocess.run(runs.backwalk("sample", drawn.model, "-n", 3000, "-o", "rows.parquet"), check=True, cwd=tmp_path)
    score = ["score", os.path.relpath(drawn.model, tmp_path), "rows.parquet", "--json"]
    alone, by_ray = (
        runs.result(runs.started(*runs.backwalk(*score, "-o", f"{name}/", *engine), cwd=tmp_path))
        for name, engine in (("alone", []), ("by_ray", ["--engine", "ray"]))
    )
    assert alone["values"] == by_ray["values"]
