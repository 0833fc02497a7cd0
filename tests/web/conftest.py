"""The page's server on a port of its own, browser tabs that ask it, and a fitted model."""

import http.client
import json
import threading
import time
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from backwalk.datasets import two_moons
from backwalk.denoiser import Residual
from backwalk.estimator import Diffusion
from backwalk.sampling import Sampler
from backwalk.web.app import Page
from backwalk.web.security import Launch
from backwalk.web.serve import PageServer, listen

LONGEST = 60.0  # seconds, of hangs alone


@dataclass
class Answer:
    status: int
    headers: dict
    content: bytes

    def json(self):
        return json.loads(self.content)

    @property
    def message(self):
        return self.json()["error"]["message"]


class Running:
    """A server in a thread."""

    def __init__(self, **opened):
        self.socket = listen(0)
        self.launch = Launch(self.socket.getsockname()[1], token="the-token", cookie="the-cookie")
        self.page = Page(**opened)
        self.uvicorn = PageServer(self.launch, self.page)
        self.thread = threading.Thread(target=self.uvicorn.run, kwargs={"sockets": [self.socket]}, daemon=True)
        self.thread.start()
        while not self.uvicorn.started:
            time.sleep(0.01)

    @property
    def own(self):
        return f"http://127.0.0.1:{self.launch.port}"

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.launch.port, timeout=LONGEST)

    def ask(self, method, path, body=None, headers=()):
        connection = self.connection()
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            answered = connection.getresponse()
            return Answer(answered.status, {k.lower(): v for k, v in answered.getheaders()}, answered.read())
        finally:
            connection.close()

    def stop(self):
        self.uvicorn.should_exit = True
        self.thread.join(LONGEST)
        self.socket.close()
        assert not self.thread.is_alive()


class Tab:
    """A browser tab: it sends the cookie, its Origin, and the id of its workspace."""

    def __init__(self, running, name="tab-of-a-test"):
        self.running, self.name = running, name
        launch = running.launch
        self.headers = {
            "Cookie": f"{launch.cookie_name}={launch.cookie}",
            "Origin": running.own,
            "X-Backwalk-Workspace": name,
        }

    def get(self, path, headers=()):
        return self.running.ask("GET", path, headers={**self.headers, **dict(headers)})

    def post(self, path, body=None):
        content = json.dumps({} if body is None else body)
        return self.running.ask("POST", path, content, {**self.headers, "Content-Type": "application/json"})

    def upload(self, name, content):
        return self.running.ask("POST", f"/api/data/file?name={quote(name)}", content, self.headers)

    def answer(self, path, body=None):
        """Post, and return the JSON of an answer that has to be good."""
        answered = self.post(path, body)
        assert answered.status == 200, answered.content
        return answered.json()

    def events(self, fit, after=None):
        """Return the events of a fit until its end, as (number, kind, data)."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        answered = self.get(f"/api/fits/{fit}/events", headers)
        assert answered.status == 200, answered.content
        found, number, kind = [], None, None
        for line in answered.content.decode().splitlines():
            if line.startswith("id: "):
                number = int(line[4:])
            elif line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                found.append((number, kind, json.loads(line[6:])))
        return found

    def fitted(self, data, settings, seed=0):
        """Fit, and return the last event's data."""
        fit = self.answer("/api/fits", {"data": data, "settings": settings, "seed": seed})["fit"]
        *_, (_, kind, last) = self.events(fit)
        assert kind == "done", last
        return {"fit": fit, **last}


@pytest.fixture(scope="session")
def running():
    made = Running()
    yield made
    made.stop()


@pytest.fixture
def page(running, request):
    """A tab: the one of a fitted model that the test asks for, or that of its module."""
    owners = {"moons", "arcs"} & set(request.fixturenames)
    return Tab(running, f"tab-of-{owners.pop() if owners else request.module.__name__.rpartition('.')[2]}")


@pytest.fixture(scope="session")
def moons(running):
    """A quick model of two moons in a tab of its own: the ids of its data and its model."""
    page = Tab(running, "tab-of-moons")
    data = page.answer("/api/data", {"density": "two_moons", "n": 400, "seed": 3})
    settings = {
        "n_steps": 30,
        "denoiser": {"kind": "residual", "width": 16, "depth": 1},
        "sampler": "ancestral",
        "max_steps": 40,
    }
    made = page.fitted(data["data"], settings, seed=3)
    return {"data": data["data"], "settings": settings, "seed": 3, **made}


@pytest.fixture(scope="session")
def later():
    """Wait until a function returns something true, and return that."""

    def wait(holds):
        limit = time.monotonic() + LONGEST
        while not (result := holds()):
            assert time.monotonic() < limit
            time.sleep(0.01)
        return result

    return wait


@pytest.fixture(scope="session")
def same_fit(moons):
    """The fit of the page's model, made in Python."""
    network = Residual(width=16, n_blocks=1, n_members=1)
    X = two_moons().sample(400, random_state=3)
    settings = {"n_steps": 30, "denoiser": network, "sampler": Sampler("ancestral"), "max_steps": 40}
    return Diffusion(**settings, random_state=3, verbose=False).fit(X)
