"""The routes: what they answer, and that it is the library's."""

import numpy as np

from backwalk.web.packing import unpacked


def test_the_first_answers_need_no_library(page):
    catalogue = page.get("/api/catalogue").json()
    assert {"two_moons", "mixed_arcs"} <= {density["name"] for density in catalogue["densities"]}
    start = catalogue["start"]
    card = page.get(f"/api/models/{start['model']}").json()
    assert card["has_exact"]
    header, arrays = unpacked(page.post(f"/api/models/{start['model']}/chain", start["chain"]).content)
    assert arrays["backward"].shape == arrays["x_0_hat"].shape == (21, 2000, 2)
    assert header["sampler"]["n_evaluations"] == 20
    np.testing.assert_array_equal(arrays["x_0_hat"][0], arrays["backward"][0])


def test_a_fit_tells_its_events_and_leaves_a_model(page, moons):
    events = page.events(moons["fit"])
    assert [number for number, _, _ in events] == list(range(len(events)))
    kinds = [kind for _, kind, _ in events]
    assert kinds[-1] == "done"
    assert {"progress", "snapshot"} <= set(kinds)
    assert page.events(moons["fit"], after=len(events) - 2) == events[-1:]
    assert page.get(f"/api/models/{moons['model']}").json()["history"]["n_steps"] == 40
