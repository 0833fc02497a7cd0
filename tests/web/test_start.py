"""What ships with the page is what the library makes, and what the page needs first needs no torch."""

import subprocess
import sys

import numpy as np
import pytest

from backwalk.estimator import Diffusion
from backwalk.web import start
from backwalk.web.catalogue import catalogue
from backwalk.web.opening import moons_data, shipped
from backwalk.web.packing import unpacked
from backwalk.web.pictures import chain
from backwalk.web.requests import ChainRequest


@pytest.fixture(scope="module")
def data():
    return moons_data()


def close(one, other):
    """Whether JSON values agree up to rounding, which differs from machine to machine."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return one == pytest.approx(other, rel=1e-9) if isinstance(one, float) else one == other


def test_the_stored_catalogue_is_the_library_s():
    assert close(start.catalogue(), catalogue())


@pytest.mark.parametrize("name", start.MODELS)
def test_the_stored_cards_are_those_of_the_stored_models(page, data, name):
    entry = shipped(name, data)
    assert close(page.get(f"/api/models/{name}").json(), entry.record())
    assert (start.FOLDER / start.MODELS[name].file).stat().st_size < 300_000
    assert entry.model.card["n_rows"] + entry.model.card["n_validation_rows"] == start.N_ROWS


def test_the_stored_chain_is_the_model_s(data):
    stored = unpacked((start.FOLDER / "chain.bin").read_bytes())
    made = unpacked(chain(shipped(start.NAME, data), ChainRequest(**start.CHAIN)).to_bytes())
    assert close(stored[0], made[0])
    for name, array in made[1].items():
        np.testing.assert_allclose(stored[1][name].astype(float), array, atol=1.0)  # of 65,535 places


def test_the_shipped_model_is_good(data):
    """Within 0.04 nats of the entropy; the notebook's chain pays its prior mismatch of 0.08 nats and more."""
    rows = data.density.sample(1000, random_state=9)
    model = Diffusion.load(start.FOLDER / start.MODELS[start.NAME].file)
    apart = data.density.log_prob(rows) - model.score_samples(rows)
    assert apart.mean() < 0.04
    assert shipped(start.NOTEBOOK, data).model.prior_mismatch > 0.05


def test_the_first_answers_load_no_torch():
    code = """if True:
        import asyncio, json, sys
        from backwalk.web.app import make_app
        from backwalk.web.state import Server
        from backwalk.web.security import Launch
        from backwalk.web import start

        launch = Launch(8000)
        app = make_app(launch, Server())
        headers = {"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000", "x-backwalk-workspace": "abcdefgh",
                   "cookie": f"{launch.cookie_name}={launch.cookie}"}

        async def ask(method, path, body=b""):
            status, whole = [], []
            async def receive():
                if whole:
                    await asyncio.Event().wait()
                whole.append(True)
                return {"type": "http.request", "body": body, "more_body": False}
            async def send(message): status.append(message.get("status"))
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
                     "headers": raw, "http_version": "1.1", "scheme": "http", "root_path": "", "client": None,
                     "server": ("127.0.0.1", 8000), "asgi": {"version": "3.0"}}
            await app(scope, receive, send)
            return status[0]

        for path in ("/", "/static/index.html", "/api/catalogue", "/api/models", "/api/models/start"):
            assert asyncio.run(ask("GET", path)) == 200, path
        Server.load = lambda self: None
        assert asyncio.run(ask("POST", "/api/models/start/chain", json.dumps(start.CHAIN).encode())) == 200
        assert not {"torch", "numpy", "sklearn", "scipy", "pyarrow"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
