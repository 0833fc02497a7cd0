"""The routes: what they answer, that it is the library's, and the lines in which requests wait."""

import asyncio

import numpy as np
import pytest
from starlette.requests import ClientDisconnect, Request

from backwalk.web.app import Page, Turns
from backwalk.web.plane import unpack
from backwalk.web.security import Refusal


def test_the_first_answers_need_no_library(page):
    catalogue = page.get("/api/catalogue").json()
    assert {"two_moons", "mixed_arcs"} <= {density["name"] for density in catalogue["densities"]}
    start = catalogue["start"]
    card = page.get(f"/api/models/{start['model']}").json()
    assert card["has_exact"]
    header, arrays = unpack(page.post(f"/api/models/{start['model']}/chain", start["chain"]).content)
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
    assert events[-1][2]["step"] == 40


def test_few_are_served_at_once_few_wait_and_others_are_refused():
    async def ask():
        turns, served, go_on = Turns(2, 1), [], asyncio.Event()

        async def client(k):
            async with turns.turn():
                served.append(k)
                await go_on.wait()

        clients = [asyncio.create_task(client(k)) for k in range(3)]
        await asyncio.sleep(0)
        assert served == [0, 1]
        with pytest.raises(Refusal, match="waiting"):
            await client(3)
        go_on.set()
        await asyncio.gather(*clients)
        assert served == [0, 1, 2]
        await client(4)

    asyncio.run(ask())


def test_nothing_is_computed_for_a_client_that_has_left():
    computed = []

    async def ask():
        async def receive():
            return {"type": "http.disconnect"}

        page = Page()
        request = Request({"type": "http", "method": "POST", "headers": []}, receive)
        with pytest.raises(ClientDisconnect):
            await page.compute(request, page.computations, computed.append)
        page.workspaces.close()

    asyncio.run(ask())
    assert computed == []
