"""The hosts that other tests use: they reach each other and nothing else, and end as a whole."""

import subprocess

from tests.scale import hosts


def test_two_hosts_reach_each_other_and_nothing_else(has_hosts):
    subprocess.run(hosts.alone(*hosts.python("ring")), check=True, timeout=60)
