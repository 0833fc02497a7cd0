"""Two hosts that greet each other, for `test_hosts.py`: `python -m tests.scale.ring` runs on the first."""

import errno
import socket
import sys
import time

from tests.scale import hosts

PORT, LONGEST = 7000, 20


def first():
    second = hosts.Second(*hosts.python("ring", "second"))
    with socket.create_server((hosts.FIRST, PORT)) as listening:
        listening.settimeout(LONGEST)
        accepted, address = listening.accept()
        assert accepted.recv(5) == b"hello"
        assert address[0] == hosts.SECOND
        assert any("tests.scale.ring second" in line for line in second.processes())
        second.kill()
    with socket.socket() as outside:
        found = outside.connect_ex(("192.0.2.1", 80))  # an address for documentation, which no network has
        assert found == errno.ENETUNREACH, found


def second():
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        with socket.socket() as calling:
            if calling.connect_ex((hosts.FIRST, PORT)) == 0:
                calling.sendall(b"hello")
                time.sleep(LONGEST)
        time.sleep(0.1)


if __name__ == "__main__":
    second() if sys.argv[1:] == ["second"] else first()
