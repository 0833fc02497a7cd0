"""A short, seeded part of every campaign of `make soak`, in a process of its own, as the campaigns fork."""

import os
import subprocess
import sys
from pathlib import Path

from soak.table import CAMPAIGNS

ROOT = Path(__file__).parents[1]


def test_the_short_campaigns_hold():
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-m", "soak", "--short", "--seed", "1"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = {line.split()[0] for line in done.stdout.splitlines()}
    assert ran == {campaign.name for campaign in CAMPAIGNS if campaign.short}


def test_names_differ():
    assert len({campaign.name for campaign in CAMPAIGNS}) == len(CAMPAIGNS)
