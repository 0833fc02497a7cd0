"""Which requests are answered: those of the launch's own page, with bodies of limited size."""

import json
import socket
from contextlib import suppress

import pytest

from backwalk.web.security import JSON_BYTES, Launch

PATHS = ["/health", "/", "/?token=the-token", "/api/catalogue", "/static/main.js"]


def send_raw(running, text):
    """Send bytes as they are, and return all that comes back."""
    parts = []
    connection = socket.create_connection(("127.0.0.1", running.launch.port), timeout=30.0)
    with connection, suppress(ConnectionError):  # the server may close while we send
        connection.sendall(text)
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "localhost.evil.example:{port}", "", "[::1]"])
def test_a_foreign_host_gets_nothing(running, page, host):
    for path in PATHS:
        headers = {**page.headers, "Host": host.format(port=running.launch.port)}
        answered = running.ask("GET", path, headers=headers)
        assert answered.status == 400
        assert "set-cookie" not in answered.headers
        assert len(answered.content) < 100


def test_two_hosts_are_refused(running):
    own = f"127.0.0.1:{running.launch.port}".encode()
    text = b"GET /health HTTP/1.1\r\nHost: " + own + b"\r\nHost: evil.example\r\n\r\n"
    assert b"200 OK" not in send_raw(running, text).split(b"\r\n")[0]


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


def test_a_page_of_another_site_is_refused(page):
    assert page.get("/api/catalogue", {"Sec-Fetch-Site": "cross-site"}).status == 403
    assert page.get("/api/catalogue", {"Sec-Fetch-Site": "same-site"}).status == 403
    assert page.get("/api/catalogue", {"Sec-Fetch-Site": "same-origin"}).status == 200
    assert page.get("/", {"Sec-Fetch-Site": "cross-site"}).status == 200  # a link


def test_the_token_sets_a_cookie_that_opens_the_page(running):
    answered = running.ask("GET", "/?token=the-token")
    assert (answered.status, answered.headers["location"]) == (302, "/")
    cookie = answered.headers["set-cookie"]
    assert {"httponly", "samesite=strict", "path=/"} <= set(cookie.lower().split("; "))
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
    page = running.ask("GET", "/", headers=headers)  # of an earlier launch, or from a link
    assert page.headers["content-type"].startswith("text/html")
    assert "backwalk web" in page.content.decode()
    assert running.ask("GET", "/api/catalogue", headers=headers).message


@pytest.mark.parametrize("others", ['prefs={"theme":"dark"}', "a=b=c", "=;; ,", 'x="', "backwalk-{port}=old", "\xe9=1"])
def test_cookies_of_other_programs_on_this_machine_are_not_read(running, page, others):
    """Browsers send the cookies of all ports; one that is none by the letter of the grammar locked the page out."""
    others = others.format(port=running.launch.port) if "{port}" in others else others
    own = page.headers["Cookie"]
    for cookie in (f"{others}; {own}", f"{own}; {others}", f"{others};{own}"):
        assert running.ask("GET", "/api/catalogue", headers={**page.headers, "Cookie": cookie}).status == 200


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
        "/static/%00",
        "/static/a%0a.js",
    ],
)
def test_no_path_leads_out_of_the_folder(page, path):
    answered = page.get(path)
    assert answered.status == 404
    assert answered.message


def test_bodies_are_limited(running, page):
    own = "".join(f"{name}: {value}\r\n" for name, value in page.headers.items())
    head = (
        f"POST /api/data HTTP/1.1\r\nHost: 127.0.0.1:{running.launch.port}\r\n{own}Content-Type: application/json\r\n"
    )
    declared = send_raw(running, f"{head}Content-Length: {JSON_BYTES + 1}\r\n\r\n".encode())
    assert b" 413 " in declared[:20]
    assert json.loads(declared.rpartition(b"\r\n")[2])["error"]["field"] is None
    assert b" 413 " in send_raw(running, f"{head}Content-Length: 999999999999\r\n\r\n".encode())[:20]
    piece = b"%x\r\n" % (JSON_BYTES + 1) + b"x" * (JSON_BYTES + 1) + b"\r\n"
    assert b" 413 " in send_raw(running, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + piece)[:20]
    assert send_raw(running, f"{head}Content-Length: -1\r\n\r\n".encode())[:12] == b"HTTP/1.1 400"


def test_each_launch_has_other_secrets():
    one, other = Launch(8000), Launch(8000)
    assert one.token != other.token != one.cookie
    assert one.token in one.address
    assert one.token not in repr(one)
    assert one.cookie not in one.address
