"""The recipes of docs/how-to/many-machines.md, as they stand there."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from backwalk.pieces import PartsFolder, sample_parts
from tests.scale import hosts, runs

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "many-machines.md"


def recipe(name):
    return re.search(rf"<!-- recipe: {name} -->\n```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]


def test_dask_makes_the_same_rows_though_a_worker_is_killed(drawn, tmp_path, has_dask):
    folder, script = tmp_path / "rows", tmp_path / "recipe.py"
    script.write_text(recipe("dask"))
    subprocess.run(runs.command(drawn.model, folder, "--range", "0:1", "--quiet"), check=True, timeout=runs.LONGEST)
    cluster = runs.started(*hosts.python("dask_cluster"), stdin=subprocess.PIPE)
    try:
        address = cluster.stdout.readline().strip()
        made = runs.started(sys.executable, str(script), str(folder), address)
        hosts.until(lambda: len(runs.parts(folder)) > 1, seconds=runs.LONGEST)
        os.kill(next(pid for pid, line in hosts.below(cluster.pid) if "spawn_main" in line), signal.SIGKILL)
        said, errors = made.communicate(timeout=runs.LONGEST)
        assert (made.returncode, said.strip()) == (0, drawn.values), errors
    finally:
        cluster.communicate(timeout=runs.LONGEST)  # which ends its standard input


def test_slurms_jobs_make_the_same_rows(drawn, tmp_path):
    n, part_rows = 3 * 2048, 2048
    script = recipe("slurm")
    for shown, own in (
        ("/shared/model", str(drawn.model)),
        ("/shared/rows", str(tmp_path / "rows")),
        ("-n 1000000000", f"-n {n} --part-rows {part_rows}"),
        ("1048576", str(part_rows)),
    ):
        assert shown in script
        script = script.replace(shown, own)
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for job in (2, 0, 1):
        settings = runs.environment(PATH=paths, SLURM_ARRAY_TASK_ID=str(job))
        subprocess.run(["bash", "-e", "-c", script], check=True, env=settings, timeout=runs.LONGEST)
    alone = sample_parts(drawn.model, tmp_path / "alone", n, seed=7, part_rows=4096)
    place = PartsFolder(tmp_path / "rows")
    assert place.gather(place.job()).values == alone.manifest.values
