"""The server's process: its port, what it opens with, uploads that wait, and its end."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from backwalk import Diffusion, NoiseSchedule
from backwalk.datasets import two_moons
from backwalk.errors import InvalidInput, ModelFileError
from backwalk.sampling import SOLVERS
from backwalk.web.opened import given_model, network_of
from backwalk.web.serve import PageServer, listen, parse_source, serve
from tests.web.conftest import Running, Tab


def test_only_this_machine_is_answered():
    with listen(None) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        with pytest.raises(InvalidInput, match="cannot be used"):
            listen(listener.getsockname()[1])


def test_a_source_is_a_model_or_a_table(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "t.csv").write_text("x\n1\n")
    assert parse_source(None) == {}
    assert parse_source("two_moons") == {"data": "two_moons"}
    assert parse_source(str(tmp_path / "t.csv")) == {"data": str(tmp_path / "t.csv")}
    assert parse_source(str(tmp_path / "folder")) == {"data": str(tmp_path / "folder")}
    with pytest.raises(InvalidInput, match="neither a file"):
        parse_source(str(tmp_path / "nowhere.csv"))


def test_a_given_table_opens_the_page(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i % 7}.5,{i % 5}.25\n" for i in range(60)))
    running = Running(data=str(tmp_path / "t.csv"))
    tab = Tab(running)
    start = tab.get("/api/catalogue").json()["start"]
    assert (start["opened"], start["data"]) == ("data", "given")
    columns = tab.get("/api/data/given").json()["columns"]
    assert [column["name"] for column in columns] == ["a", "b"]
    running.stop()


def test_a_given_model_opens_the_page(tmp_path, fitted):
    fitted.save(tmp_path / "m.safetensors")
    running = Running(model=str(tmp_path / "m.safetensors"))
    tab = Tab(running)
    start = tab.get("/api/catalogue").json()["start"]
    assert (start["opened"], start["model"]) == ("model", "given")
    assert {"model": "given", "title": "m.safetensors"} in tab.get("/api/models").json()
    assert not tab.get("/api/models/given").json()["has_exact"]
    assert len(tab.answer("/api/models/given/rows", {"n": 3})["rows"]) == 3
    assert tab.get("/api/models/given/report").status == 409
    assert tab.answer("/api/models/given/bound", {"n": 20})["rows"] == "the model's own rows"
    assert "m.safetensors" in tab.answer("/api/code", {"model": "given", "draw": {"n": 3}})["python"]
    running.stop()


OWN = """
import torch
from torch import nn


class Own(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.layer = nn.Linear(d + 1, d)

    def forward(self, x_t, level):
        return self.layer(torch.cat([x_t, level[:, None]], dim=1))


made = Own(2)
number = 3
"""


def test_a_model_of_an_own_network_opens_the_page_by_its_code(tmp_path, monkeypatch):
    (tmp_path / "own_network_of_a_test.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    network = network_of("own_network_of_a_test:made", "no file is read")
    X = two_moons().sample(100, random_state=0)
    Diffusion(denoiser=network, schedule=NoiseSchedule.cosine(12), max_steps=2, verbose=False).fit(X).save("m.backwalk")
    with pytest.raises(ModelFileError, match="--network MODULE:NAME"):
        serve(model="m.backwalk", browser=False, say=str)
    for name, words in (("number", "does not"), ("nowhere", "cannot be imported")):
        with pytest.raises(InvalidInput, match=words):
            given_model("m.backwalk", f"own_network_of_a_test:{name}")
    running = Running(model="m.backwalk", network="own_network_of_a_test:Own")
    tab = Tab(running)
    card = tab.get("/api/models/given").json()
    assert (card["schedule"]["n_steps"], card["n_parameters"]) == (12, 8)
    assert len(tab.answer("/api/models/given/particle", {"sampler": "ancestral"})["steps"]) == 12
    code = tab.answer("/api/code", {"model": "given"})
    assert "denoiser=Own(...)" in code["python"]
    assert "your own class" in code["note"]
    running.stop()


def test_a_fitted_model_shows_itself(fitted, monkeypatch, capsys):
    opened = []
    with monkeypatch.context() as patch:
        patch.setattr(PageServer, "run", lambda server, **_: opened.append(server))
        fitted.show(port=listen_anywhere(), browser=False)
    assert len(opened) == 1
    assert "http://127.0.0.1:" in capsys.readouterr().out
    running = Running(model=fitted)
    tab = Tab(running)
    assert {"model": "given", "title": "Your model"} in tab.get("/api/models").json()
    rows = fitted.sample(3, random_state=5)
    np.testing.assert_array_equal(tab.answer("/api/models/given/rows", {"n": 3, "seed": 5})["rows"], rows)
    assert "Diffusion.load" in tab.answer("/api/code", {"model": "given"})["python"]
    running.stop()


def test_the_documented_solver_is_ddim_and_appears_on_the_page(fitted):
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "your-own-schedule-and-solver.md").read_text()
    names = {"__name__": "a_user_s_module", "model": fitted}
    try:
        cells = re.findall(r"```{code-cell} python\n(.*?)```", text, flags=re.DOTALL)
        exec(next(cell for cell in cells if "class MyEuler" in cell), names)
        np.testing.assert_allclose(names["rows"], fitted.sample(100, sampler="ddim", n_evaluations=10, random_state=0))
        running = Running(model=fitted)
        tab = Tab(running)
        assert "my-euler" in [each["name"] for each in tab.get("/api/catalogue").json()["samplers"]]
        request = {"sampler": "my-euler", "n_evaluations": 4, "row": 1}
        assert len(tab.answer("/api/models/given/particle", request)["steps"]) == 4
        running.stop()
    finally:
        SOLVERS.pop("my-euler", None)


def listen_anywhere():
    """Return a port that is free."""
    with listen(0) as listener:
        return listener.getsockname()[1]


def test_uploads_are_read_one_at_a_time_and_few_wait(running, page, later):
    """24 uploads at once were all held in memory, and read after their clients had left."""
    head = f"POST /api/data/file?name=t.csv HTTP/1.1\r\nHost: 127.0.0.1:{running.launch.port}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in page.headers.items()) + "Content-Length: 1000000\r\n\r\n"
    with ExitStack() as stack:

        def begin_upload():
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", running.launch.port), timeout=30.0))
            connection.sendall(head.encode() + b"x\n")
            return connection

        waiting = [begin_upload() for _ in range(9)]  # one whose body comes slowly, and eight behind it
        refused = later(lambda: (answer := page.upload("t.csv", b"x\n1\n2\n")).status == 429 and answer)
        assert "waiting" in refused.message
        assert page.post("/api/data", {"density": "rings", "n": 5}).status == 200
        del waiting
    later(lambda: page.upload("t.csv", b"x\n1\n2\n").status == 200)  # they have left


def begin_server(folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(folder)}
    command = [sys.executable, "-m", "backwalk", "web", "--no-browser"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    address = process.stderr.readline().split()[-1]
    port, path = address.removeprefix("http://127.0.0.1:").split("/", 1)
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60.0)
    connection.request("GET", f"/{path}")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (302, b"")
    return process, connection, answer.headers["set-cookie"].split(";")[0]


def end_server(process, stop, folder):
    process.send_signal(stop)
    assert process.wait(60.0) == 128 + stop
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert list(folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_in_order(stop, tmp_path):
    process, connection, _ = begin_server(tmp_path)
    end_server(process, stop, tmp_path)
    connection.close()


@pytest.mark.slow
def test_the_command_does_not_wait_for_computations(tmp_path):
    """It took half a minute, and printed a traceback for every request."""
    process, connection, cookie = begin_server(tmp_path)
    headers = {"Cookie": cookie, "Origin": f"http://127.0.0.1:{connection.port}", "X-Backwalk-Workspace": "a-tab-of-it"}
    headers["Content-Type"] = "application/json"
    connection.request("GET", "/api/models/notebook", headers=headers)  # the library has loaded
    assert connection.getresponse().read()
    with ExitStack() as stack:
        for seed in range(20):
            asked = http.client.HTTPConnection("127.0.0.1", connection.port, timeout=60.0)
            stack.callback(asked.close)
            body = {"n": 16_000, "sampler": "ancestral", "n_evaluations": 1000, "seed": seed}
            asked.request("POST", "/api/models/start/chain", json.dumps(body), headers)
        connection.request("GET", "/health")
        assert connection.getresponse().read()
        end_server(process, signal.SIGTERM, tmp_path)
    connection.close()


def test_the_command_says_what_is_not_installed(tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ImportError('no uvicorn', name='uvicorn')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "backwalk", "web", "--no-browser"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert "backwalk[web]" in done.stderr
    assert len(done.stderr.splitlines()) == 1
