"""A Ray cluster of two hosts, of which one is lost."""

import subprocess

import pytest

from tests.scale import hosts, runs

pytestmark = pytest.mark.usefixtures("has_ray", "has_hosts")


def test_a_lost_host_costs_time_alone(drawn, tmp_path):
    script = hosts.python("two_hosts", drawn.model, tmp_path, drawn.values)
    subprocess.run(hosts.alone(*script), check=True, timeout=2 * runs.LONGEST)
