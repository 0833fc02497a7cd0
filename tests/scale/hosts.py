"""Hosts on one machine: namespaces of network and processes, joined by a virtual cable, with no way out.

A script runs on the first host (`alone`) and plugs in the second (`Second`). All that runs on a host ends with it, as
when its power fails; all ends with the first host.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

FIRST, SECOND = "10.77.0.1", "10.77.0.2"
_HOST = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
_LONGEST = 30


def alone(*command):
    """Return the command that runs another on a host of its own, as its root; only the loopback is up there."""
    own = [] if os.geteuid() == 0 else ["--map-root-user"]
    return [*_HOST, *own, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]


def why_not():
    """Return why hosts cannot be made here, or an empty text."""
    script = "ip link add cable type veth peer name other && ip address show cable > /dev/null"
    try:
        done = subprocess.run(alone("sh", "-c", script), capture_output=True, text=True, timeout=_LONGEST)
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    said = done.stderr.strip().splitlines()
    return (said[-1] if said else f"status {done.returncode}") if done.returncode else ""


class Second:
    """A second host, for a script that runs on the first: it runs a command once the cable is plugged in."""

    def __init__(self, *command, output=None):
        waiting = 'read _ && ip link set lo up && exec "$@"'
        self._process = subprocess.Popen(
            [*_HOST, "sh", "-c", waiting, "sh", *command], stdin=subprocess.PIPE, stdout=output, stderr=output
        )
        own = network(os.getpid())
        until(lambda: network(self._process.pid) not in (own, None))
        self.network = network(self._process.pid)
        inside = ["nsenter", "--target", str(self._process.pid), "--net", "ip"]
        _ip("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(self._process.pid))
        for program, address in ((["ip"], FIRST), (inside, SECOND)):
            _run(*program, "address", "add", f"{address}/24", "dev", "cable")
            _run(*program, "link", "set", "cable", "up")
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def processes(self):
        """Return the command lines of the processes that run on the second host."""
        return [line for pid, line in processes() if network(pid) == self.network]

    def kill(self):
        """Kill all processes of the host at once; the cable goes with it."""
        self._process.kill()
        self._process.wait()
        until(lambda: not self.processes())


def processes():
    """Yield (number, command line) of every process."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            yield int(folder.name), line.replace(b"\0", b" ").decode(errors="replace").strip()


def network(pid):
    """Return the network namespace of a process, or None if it has ended."""
    try:
        return Path(f"/proc/{pid}/ns/net").readlink()
    except OSError:
        return None


def until(condition, *, seconds=_LONGEST):
    """Wait until a condition holds, and return its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"nothing came in {seconds} s"
        time.sleep(0.05)
    return value


def python(script, *arguments):
    """Return the command that runs a script beside this file."""
    return [sys.executable, "-m", f"tests.scale.{script}", *map(str, arguments)]


def _ip(*arguments):
    _run("ip", *arguments)


def _run(*command):
    subprocess.run(command, check=True, timeout=_LONGEST)
