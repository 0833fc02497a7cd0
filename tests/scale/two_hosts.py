"""A Ray cluster on two hosts, for `test_ray_hosts.py`: it draws rows, and loses the second host on the way.

`python -m tests.scale.two_hosts MODEL FOLDER VALUES` runs on the first host.
"""

import secrets
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.scale import hosts, runs

PORT = 6379
HEAD = f"{hosts.FIRST}:{PORT}"
SETTINGS = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}


def node(address, *options):
    """Return the command that runs Ray on a host until it is killed."""
    small = ["--num-cpus", "1", "--object-store-memory", str(80 * 2**20), "--disable-usage-stats", "--block"]
    return [str(Path(sys.executable).with_name("ray")), "start", "--node-ip-address", address, *small, *options]


def main(model, place, values):
    settings = runs.environment(**SETTINGS, RAY_AUTH_TOKEN=secrets.token_hex(32))
    sample = [*runs.command(model, place / "rows", "--engine", "ray", "--address", HEAD, "--workers", 2, "--json")]
    with TemporaryDirectory(prefix="ray-") as short, (place / "ray.log").open("wb") as log:
        head = node(hosts.FIRST, "--head", "--port", str(PORT), "--include-dashboard", "false", "--temp-dir", short)
        subprocess.Popen(head, env=settings, stdout=log, stderr=log)
        second = hosts.Second(*node(hosts.SECOND, "--address", HEAD), output=log, env=settings)
        hosts.until(lambda: any("raylet" in line for line in second.processes()), seconds=runs.LONGEST)

        for stranger in ({"RAY_AUTH_TOKEN": secrets.token_hex(32)}, {"RAY_AUTH_MODE": "disabled"}):
            refused = runs.started(*sample, env={**settings, **stranger})
            _, said = refused.communicate(timeout=runs.LONGEST)
            assert refused.returncode == 1, said
            assert "cannot be joined" in said, said
            assert not runs.parts(place / "rows")

        made = runs.started(*sample, env=settings)
        hosts.until(lambda: runs.parts(place / "rows") and second_is_making(second), seconds=runs.LONGEST)
        second.kill()
        assert len(runs.parts(place / "rows")) < runs.N_PARTS
        assert runs.result(made)["values"] == values
        assert runs.all_whole(place / "rows")


def second_is_making(second):
    return any(line.startswith(runs.RAY_WORKER) for line in second.processes())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
