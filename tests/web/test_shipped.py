"""What ships with the page is what the library makes, and the first picture needs no torch."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from backwalk.estimator import Diffusion
from backwalk.web import shipped
from backwalk.web.opened import shipped_data, shipped_model
from backwalk.web.pictures import compute_chain
from backwalk.web.plane import unpack
from backwalk.web.requests import ChainRequest
from backwalk.web.ship import digest_of, make_catalogue, read_lessons


@pytest.fixture(scope="module")
def data():
    return shipped_data()


def close(one, other):
    """Whether JSON values agree up to rounding, which differs from machine to machine."""
    if isinstance(one, dict):
        names = one.keys() - {"description"}  # first lines of docstrings
        return one.keys() == other.keys() and all(close(one[name], other[name]) for name in names)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return one == pytest.approx(other, rel=1e-9) if isinstance(one, float) else one == other


def test_the_stored_catalogue_is_the_library_s():
    assert close(json.loads(shipped.stored("catalogue.json")), make_catalogue())


def test_the_stored_card_is_that_of_the_stored_model(page, data):
    entry = shipped_model(shipped.START, data)
    assert close(page.get(f"/api/models/{shipped.START}").json(), json.loads(json.dumps(entry.record())))


def test_the_stored_chain_is_the_model_s(data):
    stored = unpack(shipped.stored("chain.bin"))
    made = unpack(compute_chain(shipped_model(shipped.START, data), ChainRequest(**shipped.FIRST_CHAIN)).to_bytes())
    assert close(stored[0], made[0])
    for name, array in made[1].items():
        np.testing.assert_allclose(stored[1][name].astype(float), array, atol=1.0)  # of 65,535 places


@pytest.mark.slow
def test_the_shipped_models_are_good(data):
    """Within 0.04 nats of the entropy; the notebook's chain pays its prior mismatch of 0.08 nats and more."""
    rows = data.density.sample(1000, random_state=9)
    model = Diffusion.load(shipped.FOLDER / shipped.MODELS[shipped.START].file)
    apart = data.density.log_prob(rows) - model.score_samples(rows)
    assert apart.mean() < 0.04
    assert shipped_model(shipped.NOTEBOOK, data).model.prior_mismatch > 0.05


@pytest.mark.slow
def test_the_first_picture_loads_no_torch():
    code = """if True:
        import http.client, json, sys, threading, time
        from backwalk.web import app, shipped
        from backwalk.web.security import Launch
        from backwalk.web.serve import PageServer, listen

        app.SECONDS_BEFORE_LOADING = 1e6
        listener = listen(0)
        launch, page = Launch(listener.getsockname()[1]), app.Page()
        page.load = lambda: None
        server = PageServer(launch, page)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        headers = {"Origin": launch.origins[0], "X-Backwalk-Workspace": "abcdefgh", "Content-Type": "application/json",
                   "Cookie": f"{launch.cookie_name}={launch.cookie}"}
        connection = http.client.HTTPConnection("127.0.0.1", launch.port)

        def ask(method, path, body=None):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True), path

        for path in ("/", "/static/index.html", "/api/catalogue", "/api/models", "/api/models/start"):
            ask("GET", path)
        ask("POST", "/api/models/start/chain", json.dumps(dict(shipped.FIRST_CHAIN)))
        server.should_exit = True
        thread.join()
        assert not {"torch", "numpy", "sklearn", "scipy", "pyarrow"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_the_course_is_that_of_the_lessons():
    """After a change `python -m backwalk.web.ship course` makes it anew. "Why?" leads to sections that are there."""
    course = (shipped.STATIC / "course.html").read_text(encoding="utf-8")
    assert f'content="{digest_of(read_lessons())}"' in course
    sections = set(re.findall(r'id="(\d\.\d)"', course))
    assert sections == set(re.findall(r"^## (\d\.\d) ", read_lessons(), flags=re.MULTILINE))
    asked = re.findall(r'section: "(.*?)", title: "(.*?)"', (shipped.STATIC / "why.js").read_text(encoding="utf-8"))
    assert len(asked) == 4
    assert all(f'<h2 id="{section}">{section} {title}</h2>' in course for section, title in asked)
    text = re.sub(r"<pre.*?</pre>|<code.*?</code>", "", course, flags=re.DOTALL)
    assert "$" not in text, "a formula that is none"
