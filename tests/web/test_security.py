"""Which requests are answered: those of the launch's own page, within limits."""

import json
import socket
import time

import pytest

from backwalk.web import security
from backwalk.web.security import JSON_BYTES, Launch


def raw(running, text, seconds=30.0):
    """Send bytes as they are, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", running.launch.port), timeout=seconds) as connection:
        connection.sendall(text)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", "", "[::1]:{port}"]
)
@pytest.mark.parametrize("path", ["/health", "/", "/?token=the-token", "/api/catalogue", "/static/main.js"])
def test_a_foreign_host_gets_nothing(running, page, host, path):
    headers = {**page.headers, "Host": host.format(port=running.launch.port)}
    answered = running.ask("GET", path, headers=headers)
    assert answered.status == 403
    assert "set-cookie" not in answered.headers
    assert json.loads(answered.content)["error"]["field"] is None


def test_two_hosts_are_refused(running):
    own = f"127.0.0.1:{running.launch.port}".encode()
    text = b"GET /health HTTP/1.1\r\nHost: " + own + b"\r\nHost: evil.example\r\n\r\n"
    assert b"200 OK" not in raw(running, text).split(b"\r\n")[0]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"])
def test_a_foreign_origin_is_refused(running, page, origin):
    headers = {**page.headers, "Origin": origin.format(port=running.launch.port), "Content-Type": "application/json"}
    assert running.ask("POST", "/api/data", '{"density": "rings", "n": 5}', headers).status == 403
    assert running.ask("GET", "/api/catalogue", headers=headers).status == 403


def test_a_change_needs_an_origin(running, page):
    headers = {name: value for name, value in page.headers.items() if name != "Origin"}
    headers["Content-Type"] = "application/json"
    assert running.ask("POST", "/api/data", '{"density": "rings", "n": 5}', headers).status == 403
    assert running.ask("GET", "/api/catalogue", headers=headers).status == 200


def test_a_page_of_another_site_is_refused(running, page):
    assert page.get("/api/catalogue", {"Sec-Fetch-Site": "cross-site"}).status == 403
    assert page.get("/api/catalogue", {"Sec-Fetch-Site": "same-origin"}).status == 200


def test_the_token_sets_a_cookie_that_opens_the_page(running):
    answered = running.ask("GET", "/?token=the-token")
    assert (answered.status, answered.headers["location"]) == (302, "/")
    cookie = answered.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert running.ask("GET", "/", headers={"Cookie": cookie.split(";")[0]}).status == 200


@pytest.mark.parametrize("path", ["/?token=", "/?token=another", "/?token=the-token&token=the-token", "/?token=%ff"])
def test_another_token_opens_nothing(running, path):
    answered = running.ask("GET", path)
    assert answered.status == 403
    assert "set-cookie" not in answered.headers


@pytest.mark.parametrize("cookie", [None, "backwalk=the-cookie", "backwalk-{port}=another", "backwalk-{port}=;;=\x01"])
def test_all_but_health_needs_the_cookie(running, cookie):
    headers = {} if cookie is None else {"Cookie": cookie.format(port=running.launch.port)}
    for path in ("/", "/api/catalogue", "/static/style.css", "/api/fits/fit-1/events", "/nowhere"):
        assert running.ask("GET", path, headers=headers).status == 403
    assert running.ask("GET", "/health").json() == {"status": "ok"}


def test_answers_have_strict_headers(page):
    for path in ("/", "/api/catalogue", "/nowhere", "/static/style.css"):
        headers = page.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
        assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/..\\app.py",
        "/static/\x00",
    ],
)
def test_no_path_leads_out_of_the_folder(page, path):
    answered = page.get(path.replace("\x00", "%00"))
    assert answered.status == 404
    assert b"Starlette" not in answered.content


def test_bodies_are_limited(running, page):
    answered = page.post("/api/data", {"density": "x" * JSON_BYTES})
    assert (answered.status, answered.json()["error"]["field"]) == (413, None)
    own = "".join(f"{name}: {value}\r\n" for name, value in page.headers.items())
    head = f"POST /api/data HTTP/1.1\r\nHost: 127.0.0.1:{running.launch.port}\r\n{own}"
    assert b" 413 " in raw(running, f"{head}Content-Length: 999999999999\r\n\r\n".encode())[:20]
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    assert b" 413 " in raw(running, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + 33 * piece)[:20]
    assert raw(running, f"{head}Content-Length: -1\r\n\r\n".encode())[:12] == b"HTTP/1.1 400"


def test_a_sender_that_pauses_is_not_waited_for(running, page, monkeypatch):
    monkeypatch.setattr(security, "LONGEST_PAUSE", 0.1)
    own = "".join(f"{name}: {value}\r\n" for name, value in page.headers.items())
    head = f"POST /api/data HTTP/1.1\r\nHost: 127.0.0.1:{running.launch.port}\r\n{own}Content-Length: 100\r\n\r\n"
    began = time.monotonic()
    assert b" 408 " in raw(running, head.encode() + b"{")[:20]
    assert time.monotonic() - began < 20.0


def test_each_launch_has_other_secrets():
    one, other = Launch(8000), Launch(8000)
    assert one.token != other.token != one.cookie
    assert one.token in one.address
    assert one.token not in repr(one)
    assert one.cookie not in one.address
