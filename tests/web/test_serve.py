"""The server's process: its port, its patience, its end; and its workspaces, bounded in number and time."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress

import pytest

from backwalk.errors import InvalidInput
from backwalk.web import serve as serving
from backwalk.web import sessions
from backwalk.web.refusals import Refusal
from backwalk.web.serve import bound_socket, sources
from backwalk.web.sessions import Sessions
from tests.web.conftest import Running


def test_only_this_machine_is_answered():
    with bound_socket(None) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        with pytest.raises(InvalidInput, match="cannot be used"):
            bound_socket(listener.getsockname()[1])


def test_a_source_is_a_model_or_a_table(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "t.csv").write_text("x\n1\n")
    assert sources(None) == {}
    assert sources("two_moons") == {"data": "two_moons"}
    assert sources(str(tmp_path / "t.csv")) == {"data": str(tmp_path / "t.csv")}
    assert sources(str(tmp_path / "folder")) == {"data": str(tmp_path / "folder")}
    with pytest.raises(InvalidInput, match="neither a file"):
        sources(str(tmp_path / "nowhere.csv"))


def test_slow_headers_end_and_the_oldest_make_room(monkeypatch):
    monkeypatch.setattr(serving, "LONGEST_HEADERS", 0.3)
    monkeypatch.setattr(serving, "MOST_CONNECTIONS", 20)
    running = Running()
    with ExitStack() as stack:
        stack.callback(running.stop)
        slow = []
        for _ in range(40):
            connection = socket.create_connection(("127.0.0.1", running.launch.port), timeout=30.0)
            slow.append(stack.enter_context(connection))
            connection.sendall(b"GET /health HTTP/1.1\r\n")
        host = {"Host": f"127.0.0.1:{running.launch.port}"}
        assert running.ask("GET", "/health", headers=host).status == 200
        ends = []
        for connection in slow:
            with suppress(ConnectionResetError):
                ends.append(connection.recv(100))
        assert set(ends) <= {b"", serving._TIMED_OUT}
        assert serving._TIMED_OUT in ends
        kept = stack.enter_context(closing(running.connection()))
        for _ in range(3):  # patience begins anew with each request
            kept.request("GET", "/health", headers=host)
            assert kept.getresponse().read() == b'{"status":"ok"}'
            time.sleep(0.15)


def test_a_given_table_and_a_given_model_open_the_page(tmp_path, fitted):
    from tests.web.conftest import Tab

    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i % 7}.5,{i % 5}.25\n" for i in range(60)))
    fitted.save(tmp_path / "m.safetensors")
    for opened, name in (
        ({"data": str(tmp_path / "t.csv")}, "data"),
        ({"model": str(tmp_path / "m.safetensors")}, "model"),
    ):
        running = Running(**opened)
        try:
            tab = Tab(running)
            start = tab.get("/api/catalogue").json()["start"]
            assert (start["opened"], start[name]) == (name, "given")
            if name == "data":
                columns = tab.get("/api/data/given").json()["columns"]
                assert [column["name"] for column in columns] == ["a", "b"]
            else:
                assert {"model": "given", "title": "m.safetensors"} in tab.get("/api/models").json()
                assert not tab.get("/api/models/given").json()["has_exact"]
                assert len(tab.answer("/api/models/given/rows", {"n": 3})["rows"]) == 3
                assert tab.get("/api/models/given/report").status == 409
                assert tab.answer("/api/models/given/bound", {"n": 20})["rows"] == "the model's own rows"
                code = tab.answer("/api/code", {"model": "given", "draw": {"n": 3}})
                assert "m.safetensors" in code["python"]
        finally:
            running.stop()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_in_order(stop, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "backwalk", "web", "--no-browser"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    address = process.stderr.readline().split()[-1]
    port, path = address.removeprefix("http://127.0.0.1:").split("/", 1)
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60.0)
    connection.request("GET", f"/{path}")
    assert connection.getresponse().status == 302
    process.send_signal(stop)
    assert process.wait(60.0) in (0, 128 + stop)
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    connection.close()
    assert list(tmp_path.iterdir()) == []


def test_workspaces_are_bounded_in_number_and_time(monkeypatch):
    monkeypatch.setattr(sessions, "MOST_WORKSPACES", 3)
    own = Sessions()
    first = [own.workspace(f"workspace-{k}") for k in range(3)]
    assert own.workspace("workspace-0") is first[0]
    own.workspace("workspace-3")  # workspace-1 is the oldest now
    assert own.workspace("workspace-0") is first[0]
    assert own.workspace("workspace-2") is first[2]
    assert own.workspace("workspace-1") is not first[1]
    for bad in (None, "short", "a" * 65, "with space", "../../x", "a/b/c/d/e"):
        with pytest.raises(Refusal, match="8 to 64"):
            own.workspace(bad)
    assert not first[1].folder.exists()
    folder = first[0].folder
    assert folder.is_dir()
    own.stop()
    assert not folder.exists()


def test_old_workspaces_go_first(monkeypatch):
    own = Sessions()
    old, young = own.workspace("workspace-old"), own.workspace("workspace-young")
    old.last_asked -= sessions.LONGEST_IDLE + 1.0
    assert own.workspace("workspace-new")
    assert own.workspace("workspace-young") is young
    assert own.workspace("workspace-old") is not old
    own.stop()


def test_the_command_says_what_is_not_installed(tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ImportError('no uvicorn', name='uvicorn')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "backwalk", "web", "--no-browser"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "backwalk[web]" in done.stderr
    assert len(done.stderr.splitlines()) == 1
