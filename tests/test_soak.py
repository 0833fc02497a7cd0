"""A short, seeded part of every campaign of `make soak`, in a process of its own, as the campaigns fork."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from soak.campaign import Campaign, Skipped, run
from soak.table import CAMPAIGNS

ROOT = Path(__file__).parents[1]


@pytest.mark.campaign
def test_the_short_campaigns_hold():
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-m", "soak", "--short", "--seed", "1"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,  # of hangs alone: it takes a tenth of it
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = {line.split()[0] for line in done.stdout.splitlines()}
    assert ran - {"SKIPPED:"} == {campaign.name for campaign in CAMPAIGNS if campaign.short}


def test_a_campaign_of_too_few_cases_has_failed():
    """Found by review: one that yielded nothing had passed."""
    few = Campaign("area", "fault", "holds", lambda *_: iter([""] * 3), 4, 4)
    assert run(few, 3, 0).failures == 0
    assert run(few, 4, 0).first_failures == ("there should be 4 cases, but there were 3",)
    assert run(replace(few, all_there_are=True), 4, 0).failures == 0
    assert run(replace(few, run=lambda *_: iter([])), 4, 0).failures == 1


def test_a_campaign_that_cannot_be_run_says_so():
    def run_nothing(n, seed, folder):
        yield ""
        raise Skipped("it takes root")

    result = run(Campaign("area", "fault", "holds", run_nothing, 4, 4), 4, 0)
    assert (result.cases, result.failures, result.skipped) == (1, 0, "it takes root")


def test_a_child_ends_even_where_it_cannot_write(tmp_path):
    """Found by review: it went on as a second parent."""
    code = f"""if True:
        import sys
        from pathlib import Path
        from soak.children import forked, left
        pid = forked(lambda: sys.stdout.write("x" * 10), Path("/dev/full"))
        assert left(pid) is not None
        Path({str(tmp_path / "parents")!r}).open("a").write("one")
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, timeout=300)
    assert (tmp_path / "parents").read_text() == "one"


def test_names_differ():
    assert len({campaign.name for campaign in CAMPAIGNS}) == len(CAMPAIGNS)
