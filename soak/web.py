"""The page's server under abuse: foreign hosts and origins, traversal, bodies that lie, many clients, markup.

The server runs in a forked child, and this process attacks it. After each case /health has to answer within a second.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from backwalk.web import security
from backwalk.web.app import Page
from backwalk.web.security import Launch
from backwalk.web.serve import PageServer, listen
from soak.campaign import outcome_of
from soak.children import forked, left

SILENCE = 2.0  # seconds
HEALTH_SECONDS, HEALTH_TRIES = 1.0, 3  # another process may take the machine for a moment
CROWD = 64
_MORE_BYTES = 2**30  # that the server may take, beyond what it has after its first answers
_PAGE = os.sysconf("SC_PAGE_SIZE")
_Case = Callable[[], object]


@dataclass
class Target:
    """A running server."""

    launch: Launch
    pid: int
    bytes_at_first: int = 0

    @property
    def own(self) -> dict[str, str]:
        """The headers of the server's own page."""
        return {
            "Host": f"127.0.0.1:{self.launch.port}",
            "Origin": self.launch.origins[0],
            "Cookie": f"{self.launch.cookie_name}={self.launch.cookie}",
            "X-Backwalk-Workspace": "campaign",
        }

    @property
    def memory(self) -> int:
        """Resident bytes of the server."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE

    def ask(
        self, method: str, path: str, body: bytes | None = None, **changed: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request of the page with some headers changed, or left out where they are None."""
        headers = {**self.own, **{name.replace("_", "-"): value for name, value in changed.items()}}
        connection = http.client.HTTPConnection("127.0.0.1", self.launch.port, timeout=120.0)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if value is not None:
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Type", "application/json")
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answered = connection.getresponse()
            return answered.status, {k.lower(): v for k, v in answered.getheaders()}, answered.read()
        finally:
            connection.close()

    def post(self, path: str, body: object) -> tuple[int, dict[str, str], bytes]:
        """Send JSON as the page does."""
        return self.ask("POST", path, json.dumps(body).encode())

    def raw(self, data: bytes) -> bytes:
        """Send bytes as they are, and return what comes back until the server closes or says nothing."""
        with socket.create_connection(("127.0.0.1", self.launch.port), timeout=SILENCE) as connection:
            parts = []
            with suppress(ConnectionError, TimeoutError):  # the server may close while we send
                connection.sendall(data)
                while part := connection.recv(65536):
                    parts.append(part)
        return b"".join(parts)

    def head(self, request: str, **changed: str) -> str:
        """Return the lines of a request's head, with some headers changed."""
        headers = {**self.own, **changed}
        return f"{request} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    def check_health(self) -> None:
        """Raise unless /health answers within a second, and memory is bounded."""
        for _ in range(HEALTH_TRIES):
            began = time.monotonic()
            status, _, _ = self.ask("GET", "/health", Cookie=None)
            took = time.monotonic() - began
            assert status == 200, f"/health answered {status}"
            if took < HEALTH_SECONDS:
                break
        else:
            raise AssertionError(f"/health took {took:.1f} s")
        assert self.memory < self.bytes_at_first + _MORE_BYTES, f"the server takes {self.memory / 2**20:.0f} MiB"


@contextmanager
def target() -> Iterator[Target]:
    """Run a server in a child."""
    listener = listen(0)
    launch = Launch(listener.getsockname()[1])

    def work() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        PageServer(launch, Page()).run(sockets=[listener])

    pid = forked(work, Path(os.devnull))
    listener.close()
    found = Target(launch, pid)
    try:
        for _ in range(600):
            with suppress(OSError):
                found.ask("GET", "/health", Cookie=None)
                break
            time.sleep(0.05)
        for body in ({"n": 100}, {"n": 100, "sampler": "ddim"}):
            assert found.post("/api/models/start/chain", body)[0] == 200
        found.bytes_at_first = found.memory
        yield found
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        left(pid, 30.0)


def abuse(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield the outcome of each case of abuse, one at a time."""
    rng = random.Random(seed)
    with target() as server:
        cases = _cases(server, rng)
        rng.shuffle(cases)
        while len(cases) < n:
            cases.append(_strange_body(server, rng))
        for case in cases[:n]:
            outcome = outcome_of(case)
            yield outcome or outcome_of(server.check_health)


def crowd(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of rounds in which 64 clients ask at once."""
    rng = random.Random(seed)
    with target() as server:
        for _ in range(n):
            yield outcome_of(lambda: _round(server, rng))


def _round(server: Target, rng: random.Random) -> None:
    """Ask by many clients at once; each is answered, or told to wait, and /health meanwhile."""
    asked = [
        ("/api/models/start/chain", {"n": 200, "seed": rng.randrange(100)}),
        ("/api/models/start/rows", {"n": 50, "seed": rng.randrange(100)}),
        ("/api/data", {"density": "rings", "n": 200, "seed": rng.randrange(100)}),
        ("/api/models/start/field", {"t": rng.randrange(1, 1001), "size": 5}),
    ]
    statuses, lock = list[int](), threading.Lock()

    def client(k: int) -> None:
        path, body = asked[k % len(asked)]
        status, _, _ = server.ask("POST", path, json.dumps(body).encode(), X_Backwalk_Workspace=f"client-{k:04d}")
        with lock:
            statuses.append(status)

    threads = [threading.Thread(target=client, args=[k]) for k in range(CROWD)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        server.check_health()
        time.sleep(0.05)
    for thread in threads:
        thread.join(120.0)
    assert len(statuses) == CROWD, f"only {len(statuses)} of {CROWD} clients were answered"
    assert set(statuses) <= {200, 429}, f"answers {sorted(set(statuses))}"
    assert statuses.count(200) >= CROWD // 2, f"only {statuses.count(200)} clients got their answer"
    server.check_health()


def _cases(server: Target, rng: random.Random) -> list[_Case]:
    port = server.launch.port
    cases: list[_Case] = []
    hosts = ["evil.example", f"evil.example:{port}", "", "0.0.0.0"]
    hosts += [
        f"127.0.0.1.evil.example:{port}",
        f"[::1]:{port}",
        f"127.0.0.1:{port}@evil.example",
        f"127.0.0.1:{port} x",
    ]
    paths = ["/health", "/", "/?token=" + server.launch.token, "/api/catalogue", "/static/main.js", "/api/models/start"]
    cases += [_case(_refused, server, "GET", path, 403, Host=host) for host in hosts for path in paths]
    origins = [
        "http://evil.example",
        "null",
        f"https://127.0.0.1:{port}",
        "http://127.0.0.1",
    ]
    origins += [f"http://127.0.0.1:{port}.evil.example", f"http://127.0.0.1:{port}/"]
    posts = [
        "/api/data",
        "/api/fits",
        "/api/models/start/chain",
        "/api/code",
        "/api/fits/fit-1/stop",
        "/api/data/file?name=a.csv",
    ]
    cases += [_case(_refused, server, "POST", path, 403, Origin=origin) for origin in origins for path in posts]
    cases += [_case(_refused, server, "POST", path, 403, Origin=None) for path in posts]
    cookies = [None, "", "backwalk=x", f"{server.launch.cookie_name}=x", f"{server.launch.cookie_name}={'x' * 4000}"]
    cases += [
        _case(_refused, server, "GET", path, 403, Cookie=cookie)
        for cookie in cookies
        for path in (*paths[1:2], *paths[3:])
    ]
    up = ["../app.py", "..%2fapp.py", "%2e%2e/%2e%2e/cli/__init__.py", "..\\app.py", "%5c..%5capp.py", "/etc/passwd"]
    up += [
        "%2fetc%2fpasswd",
        "....//app.py",
        "%00",
        "a%00.js",
        "..;/app.py",
        "%c0%ae%c0%ae/app.py",
        "../shipped_files/model.json",
    ]
    cases += [_case(_not_served, server, f"/static/{path}") for path in up]
    cases += [_case(_not_served, server, f"/{path}") for path in up]
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "OPTIONS", "PROPFIND", "X" * 100):
        for path in ("/api/data", "/", "/health"):
            cases.append(_case(_not_changed, server, method, path))
    cases += [_case(_lies, server, length, body) for length, body in _LENGTHS]
    cases += [_case(_garbage, server, data) for data in _garbage_of(rng)]
    cases += [_case(_too_large, server, path, how) for path in posts for how in ("declared", "chunked", "sent")]
    cases += [_case(_markup, server, name) for name in _MARKUP]
    cases += [
        _case(_bad_workspace, server, name) for name in ("", "x", "../../../etc", "a" * 65, "a b c d e f", "%00" * 9)
    ]
    cases += [_strange_body(server, rng) for _ in range(60)]
    return cases


_LENGTHS = [
    ("Content-Length: 5", b"{}"),
    ("Content-Length: 1", b'{"density": "rings", "n": 5}'),
    ("Content-Length: -1", b"{}"),
    ("Content-Length: 2\r\nContent-Length: 3", b"{}x"),
    ("Content-Length: 2\r\nTransfer-Encoding: chunked", b"{}"),
    ("Content-Length: 0x2", b"{}"),
    ("Content-Length: 99999999999999999999999999", b"{}"),
    ("Content-Length: 1099511627776", b"{}"),
    ("Transfer-Encoding: chunked", b"ffffffffffffffff\r\n{}"),
    ("Transfer-Encoding: chunked", b"zz\r\n{}\r\n0\r\n\r\n"),
    ("Transfer-Encoding: gzip, chunked", b"0\r\n\r\n"),
]
_MARKUP = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(1)//",
    "javascript:alert(1)",
    "{{7*7}}${7*7}",
    "\u202egnp.exe",
    "a\u2028b",
    "'; DROP TABLE x; --",
    "<svg/onload=alert(1)>",
    "=cmd|' /C calc'!A0",
]


def _case(function: Callable[..., object], *arguments: object, **named: object) -> _Case:
    return lambda: function(*arguments, **named)


def _refused(server: Target, method: str, path: str, expected: int, **headers: str | None) -> None:
    status, answered, body = server.ask(method, path, b"{}" if method == "POST" else None, **headers)
    assert status in (expected, 400), f"{method} {path} with {headers} got {status}"
    assert "set-cookie" not in answered, "a cookie was set"
    assert len(body) < 1000, "more than a sentence was served"


def _not_served(server: Target, path: str) -> None:
    status, _, body = server.ask("GET", path)
    assert status in (403, 404, 400), f"GET {path} got {status}"
    assert len(body) < 1000
    assert b"import" not in body, "a file was served"


def _not_changed(server: Target, method: str, path: str) -> None:
    status, headers, _ = server.ask(method, path)
    assert status >= 400, f"{method} {path} got {status}"
    assert "access-control-allow-origin" not in headers, "other origins are allowed"


def _lies(server: Target, length: str, body: bytes) -> None:
    answer = server.raw(f"{server.head('POST /api/data')}{length}\r\n\r\n".encode() + body)
    status = answer.split(b" ")[1:2]
    assert not answer or status[0] in (b"400", b"408", b"411", b"413", b"501"), f"{length} got {answer[:60]!r}"


def _garbage(server: Target, data: bytes) -> None:
    answer = server.raw(data)
    assert b" 200 " not in answer[:20], f"{data[:40]!r} got {answer[:60]!r}"


def _garbage_of(rng: random.Random) -> list[bytes]:
    fixed = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 1000]
    fixed += [b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n", b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"]
    fixed += [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n b: folded\r\n\r\n", b"\x00" * 500]
    return fixed + [rng.randbytes(rng.randrange(1, 2000)) for _ in range(15)]


def _too_large(server: Target, path: str, how: str) -> None:
    most = security.UPLOAD_BYTES if "file" in path else security.JSON_BYTES
    head = server.head(f"POST {path}")
    if how == "declared":
        answer = server.raw(f"{head}Content-Length: {most + 1}\r\n\r\n".encode())
    elif how == "sent":
        answer = server.raw(f"{head}Content-Length: {most + 1}\r\n\r\n".encode() + b"x" * (most + 1))
    else:
        piece = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
        answer = server.raw(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + (2 * most // 2**20 + 1) * piece)
    status = answer.split(b" ")[1:2]
    # Routes that read no body may answer without it.
    assert not answer or status[0] in (b"413", b"404", b"400"), f"{path} {how} got {answer[:80]!r}"


def _markup(server: Target, name: str) -> None:
    cell = name.replace('"', '""')
    content = f'"{cell}","b"\n' + "".join(f"{i % 7}.5,{i % 5}.25\n" for i in range(60))
    status, headers, body = server.ask("POST", f"/api/data/file?name={quote(name)}.csv", content.encode())
    assert status == 200, body[:200]
    assert headers["content-type"] == "application/json", headers["content-type"]
    assert headers["x-content-type-options"] == "nosniff", "types may be guessed"
    answer = json.loads(body)
    unescaped = name[1:] if name.startswith("'") else name  # reading removes an apostrophe that writing adds
    assert answer["columns"][0]["name"] in (name, unescaped), answer["columns"][0]["name"]
    code = json.loads(server.post("/api/code", {"data": answer["data"], "draw": {"n": 2}})[2])
    compile(code["python"], "copied", "exec")


def _bad_workspace(server: Target, name: str) -> None:
    status, _, _ = server.ask("POST", "/api/data", b'{"density": "rings", "n": 5}', X_Backwalk_Workspace=name)
    assert status == 400, f"workspace {name!r} got {status}"


_POSTS = [
    "data",
    "fits",
    "code",
    "data/start/columns",
    "models/start/chain",
    "models/start/particle",
    "models/start/field",
]
_POSTS += [
    "models/start/density",
    "models/start/bound",
    "models/start/rows",
    "models/start/conditional",
    "models/start/impute",
]
_FIELDS = [
    "n",
    "seed",
    "t",
    "row",
    "size",
    "columns",
    "sampler",
    "given",
    "points",
    "density",
    "settings",
    "draw",
    "keep",
]
_FIELDS += ["kinds", "column", "n_draws", "what", "data", "model", "eta", "n_evaluations", "reverse_variance"]
_VALUES = [
    None,
    True,
    -1,
    0,
    0.5,
    1e308,
    10**40,
    "",
    "x" * 5000,
    "<b>",
    "\ud800",
    [],
    [[]],
    [None] * 50,
    {},
    {"a": {"b": []}},
]
_VALUES += ["two_moons", "start", "ddim", [0, 1], [[0, 0], [1, 1]], {"x1": 1}, "../../etc/passwd", "__import__('os')"]


def _strange_body(server: Target, rng: random.Random) -> _Case:
    """Return a case that sends known fields with any values."""
    path = f"/api/{rng.choice(_POSTS)}"
    body = {rng.choice(_FIELDS): rng.choice(_VALUES) for _ in range(rng.randrange(4))}
    text = json.dumps(body).encode()
    if rng.random() < 0.2:
        text = bytes(rng.choice([byte, rng.randrange(256)]) if rng.random() < 0.1 else byte for byte in text)

    def case() -> None:
        status, _, answer = server.ask("POST", path, text)
        if status == 200 and path == "/api/fits":
            fit = json.loads(answer)["fit"]
            server.post(f"/api/fits/{fit}/stop", {})
            return
        assert status in (200, 400, 404, 409, 429), f"POST {path} {text[:200]!r} got {status} {answer[:200]!r}"
        if status != 200:
            assert json.loads(answer)["error"]["message"], "no reason was given"

    return case
