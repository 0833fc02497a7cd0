"""Hosts on one machine: namespaces of network and processes, joined by a virtual cable, with no way out.

A script runs on the first host (`alone`) and plugs in the second (`Second`). All that runs on a host ends with it, as
when its power fails; all ends with the first host.
"""

import ipaddress
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

FIRST, SECOND = "10.77.0.1", "10.77.0.2"
_HOST = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
_LONGEST = 30
_LISTENS = "0A"  # a state in /proc/net/tcp


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

    def __init__(self, *command, output=None, env=None):
        waiting = 'read _ && ip link set lo up && exec "$@"'
        self._process = subprocess.Popen(
            [*_HOST, "sh", "-c", waiting, "sh", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=env,
        )
        own = network(os.getpid())
        until(lambda: network(self._process.pid) not in (own, None))
        self.network = network(self._process.pid)
        inside = ["nsenter", "--target", str(self._process.pid), "--net", "ip"]
        _ip("link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", str(self._process.pid))
        _ip("address", "add", f"{FIRST}/32", "dev", "lo")  # which stays without the cable
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


def below(pid):
    """Return (number, command line) of the processes that a process started, and that these started, and so on."""
    parents = {each: parent(each) for each, _ in processes()}
    found, level = set(), {pid}
    while level:
        level = {each for each, own in parents.items() if own in level}
        found |= level
    return [(each, line) for each, line in processes() if each in found]


def parent(pid):
    """Return the number of the process that started another, or None if it has ended."""
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def listening(pids):
    """Return the addresses on which processes listen for connections by TCP."""
    sockets = set()
    for pid in pids:
        with suppress(OSError):
            sockets |= {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == _LISTENS and f"socket:[{inode}]" in sockets:
                found.append(_address(local.partition(":")[0]))
    return found


def _address(digits):
    """Return the address that the kernel writes as words of four bytes in this machine's order.

    >>> _address("0100007F"), _address("0000000000000000FFFF00000100007F")
    ('127.0.0.1', '127.0.0.1')
    """
    words = [bytes.fromhex(digits[i : i + 8]) for i in range(0, len(digits), 8)]
    address = ipaddress.ip_address(b"".join(word[::-1] if sys.byteorder == "little" else word for word in words))
    return str(getattr(address, "ipv4_mapped", None) or address)


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
