"""Fits in threads: stop, go on, again from the same weights, one at a time; and the messages of the library."""

import base64
from contextlib import ExitStack, closing

import numpy as np
import pytest

from backwalk.datasets import two_moons
from backwalk.denoiser import Residual
from backwalk.estimator import Diffusion
from backwalk.web import fits
from tests.web.conftest import Tab

TINY = {"n_steps": 20, "denoiser": {"kind": "residual", "width": 8, "depth": 1}}
NETWORK = Residual(width=8, n_blocks=1, n_members=1)


def begun(tab, settings, n=300):
    data = tab.answer("/api/data", {"density": "two_moons", "n": n, "seed": 1})["data"]
    return tab.answer("/api/fits", {"data": data, "settings": {**TINY, **settings}, "seed": 1})["fit"]


def rows(tab, model):
    return tab.answer(f"/api/models/{model}/rows", {"n": 20, "seed": 0})["rows"]


@pytest.mark.slow
def test_a_stopped_fit_goes_on_to_the_model_of_an_uninterrupted_one(running, later):
    tab = Tab(running, "stop-and-go-on")
    fit = begun(tab, {"max_steps": 400})
    later(lambda: running.page.workspaces.get(tab.name).fits.get(fit).events)
    assert tab.answer(f"/api/fits/{fit}/stop") == {}
    *_, (_, kind, done) = tab.events(fit)
    assert (kind, done["stopped"]) == ("done", True)
    assert tab.get(f"/api/fits/{fit}").json()["state"] == "done"
    assert done["step"] < 400
    assert len(rows(tab, done["model"])) == 20
    on = tab.answer(f"/api/fits/{fit}/go-on")["fit"]
    *_, (_, kind, done) = tab.events(on)
    assert (kind, done["stopped"], done["step"]) == ("done", False, 400)
    assert list(running.page.workspaces.get(tab.name).folder.iterdir()) == []
    whole = Diffusion(n_steps=20, denoiser=NETWORK, max_steps=400, random_state=1, verbose=False)
    whole.fit(two_moons().sample(300, random_state=1))
    np.testing.assert_array_equal(rows(tab, done["model"]), whole.sample(20, random_state=0))


@pytest.mark.slow
def test_an_ended_fit_goes_on_from_its_weights_and_begins_again_from_the_same(running):
    tab = Tab(running, "again-and-further")
    fit = begun(tab, {"max_steps": 12})
    first = tab.events(fit)[-1][2]
    again = tab.events(begun(tab, {"max_steps": 12}))[-1][2]
    assert rows(tab, first["model"]) == rows(tab, again["model"])
    further = tab.events(tab.answer(f"/api/fits/{fit}/go-on", {"max_steps": 5})["fit"])[-1][2]
    assert rows(tab, further["model"]) != rows(tab, first["model"])
    code = tab.answer("/api/code", {"model": further["model"], "draw": {"n": 5}})
    assert "Diffusion.load('model.safetensors')" in code["python"]


def test_one_fit_runs_at_a_time_in_a_tab_and_two_in_all(running):
    tabs = [Tab(running, f"one-at-a-time-{k}") for k in range(3)]
    slow = {"max_steps": 100_000}
    begun_fits = [begun(tab, slow) for tab in tabs[:2]]
    for tab, words in ((tabs[0], "running here"), (tabs[2], "other tabs")):
        data = tab.answer("/api/data", {"density": "rings", "n": 50})["data"]
        answered = tab.post("/api/fits", {"data": data, "settings": TINY})
        assert answered.status == 429
        assert words in answered.message
    assert tabs[0].post(f"/api/fits/{begun_fits[0]}/go-on").status == 429
    for tab, fit in zip(tabs, begun_fits, strict=False):
        tab.answer(f"/api/fits/{fit}/stop")
        assert tab.events(fit)[-1][1] == "done"


def test_of_too_many_streams_of_a_fit_the_oldest_ends(running, monkeypatch):
    """The newcomer was ended."""
    monkeypatch.setattr(fits, "MOST_STREAMS", 2)
    tab = Tab(running, "many-streams")
    fit = begun(tab, {"max_steps": 100_000})
    with ExitStack() as stack:
        streams = []
        for _ in range(3):
            connection = stack.enter_context(closing(running.connection()))
            connection.request("GET", f"/api/fits/{fit}/events", headers=tab.headers)
            streams.append(connection.getresponse())
            assert streams[-1].readline() == b"id: 0\n"
        assert streams[0].read().endswith(b"\n\n")  # to its end, while the fit goes on
        assert tab.get(f"/api/fits/{fit}").json()["state"] == "running"
        tab.answer(f"/api/fits/{fit}/stop")
        assert all(b"event: done" in stream.read() for stream in streams[1:])


def test_tabs_do_not_see_each_other(running, moons):
    other = Tab(running, "another-tab")
    assert other.get(f"/api/models/{moons['model']}").status == 404
    assert other.get(f"/api/fits/{moons['fit']}/events").status == 404
    assert [each["model"] for each in other.get("/api/models").json()] == ["start", "notebook"]


def test_snapshots_are_rows_of_the_model_so_far(page, moons):
    snapshots = [data for _, kind, data in page.events(moons["fit"]) if kind == "snapshot"]
    for snapshot in snapshots:
        points = np.frombuffer(base64.b64decode(snapshot["samples"]), "<u2").reshape(-1, 2)
        assert len(points) == snapshot["n"] == 1000
        field = np.frombuffer(base64.b64decode(snapshot["field"]["x_0_hat"]), "<u2")
        assert field.size == 2 * snapshot["field"]["size"] ** 2


@pytest.mark.slow
def test_warnings_of_a_fit_are_messages(page):
    data = page.answer("/api/data", {"density": "two_moons", "n": 100})["data"]
    fit = page.answer("/api/fits", {"data": data, "settings": {"preset": "ddpm", "epochs": 2}})["fit"]
    events = page.events(fit)
    assert events[-1][1] == "done"
    assert any(kind == "message" and "prior mismatch" in data["message"] for _, kind, data in events)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"preset": "ddpm", "max_steps": 5}, "settings.max_steps"),
        ({"epochs": 5}, "settings.epochs"),
        ({"n_evaluations": 5}, "settings.sampler"),
        ({"preset": "ddpm", "schedule": "log_snr"}, "settings.schedule"),
        ({"max_time": -1}, "settings.max_time"),
        ({"denoiser": {"kind": "residual", "width": 10**6, "depth": 1}}, "settings.denoiser.width"),
        ({"callbacks": ["print"]}, "settings.callbacks"),
        ({"schedule": "linear", "n_steps": 10, "sampler": "ddim", "eta": 2.0}, "settings.eta"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_training(page, moons, settings, field):
    answered = page.post("/api/fits", {"data": moons["data"], "settings": settings})
    assert answered.status == 400
    assert answered.json()["error"]["field"] == field


def test_a_fit_that_fails_says_why(page):
    """Found by the settings: a textbook network on a table with labels."""
    data = page.answer("/api/data", {"density": "mixed_arcs", "n": 60})["data"]
    settings = {"denoiser": {"kind": "textbook", "width": 8, "depth": 1}, "max_steps": 2}
    *_, (_, kind, last) = page.events(page.answer("/api/fits", {"data": data, "settings": settings})["fit"])
    assert kind == "failed"
    assert "Residual" in last["message"]
