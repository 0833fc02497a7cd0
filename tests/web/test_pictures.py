"""The numbers of pictures are the library's: chains and particles."""

import numpy as np
import pytest
import torch

from backwalk.model import row_steps, walk
from backwalk.sampling import TILE_ROWS, Sampler
from backwalk.streams import Stream
from backwalk.web.pictures import MOST_FRAMES, choose_frames
from backwalk.web.plane import Plane, unpack


@pytest.mark.parametrize(
    "request_of",
    [
        {},
        {"sampler": "ddim", "n_evaluations": 7, "eta": 0.5},
        {"sampler": "multistep", "n_evaluations": 6},
        {"reverse_variance": "beta"},
    ],
    ids=lambda request_of: request_of.get("sampler", "") or str(request_of),
)
def test_a_particle_s_arithmetic_is_the_chain_s(page, moons, same_fit, request_of):
    """Every vector as the chain had it; and x_next is the stated sum."""
    answer = page.answer(f"/api/models/{moons['model']}/particle", {"row": 5, "seed": 2, **request_of})
    model, sampler = same_fit.model_, same_fit.model_.sampler
    if "sampler" in request_of:
        sampler = Sampler(request_of["sampler"], request_of["n_evaluations"], request_of.get("eta", 0.0))
    if "reverse_variance" in request_of:
        model = same_fit.set_params(reverse_variance="optimal").model_
        model = type(model)(**{**vars_of(model), "reverse_variance": "beta", "decoder_variance": 0.1})
    states = list(walk(model, 0, TILE_ROWS, stream=Stream(2).child("sample"), sampler=sampler))
    steps = row_steps(model, states, 5, sampler=sampler)
    assert len(answer["steps"]) == len(steps)
    past = []
    for own, step in zip(answer["steps"], steps, strict=True):
        assert (own["t"], own["t_next"]) == (step.t, step.t_next)
        for name in ("x_t", "x_0_hat", "noise", "x_next"):
            assert own[name] == pytest.approx(getattr(step, name).double().tolist(), abs=1e-5)
        past = [(own["x_t"], own["x_0_hat"]), *past]
        n_past = len(own["past"])
        assert n_past >= len(own["weights"]["x_0_hat"]) - 1
        assert [(visit["x_t"], visit["x_0_hat"]) for visit in own["past"]] == past[1 : n_past + 1]
        total = own["sigma_t"] * np.array(own["noise"])
        for weight, (x_t, _) in zip(own["weights"]["x_t"], past, strict=False):
            total = total + weight * np.array(x_t)
        for weight, (_, x_0_hat) in zip(own["weights"]["x_0_hat"], past, strict=False):
            total = total + weight * np.array(x_0_hat)
        np.testing.assert_allclose(total, own["x_next"], rtol=1e-5, atol=1e-5)
        eps = (np.array(own["x_t"]) - own["a"] * np.array(own["x_0_hat"])) / own["b"]
        np.testing.assert_allclose(own["eps_theta"], eps, rtol=1e-9)
        assert own["alpha"] == pytest.approx(1.0 - own["beta"])
    rows = same_fit.sample(6, random_state=2, sampler=sampler) if "reverse_variance" not in request_of else None
    if rows is not None:
        assert list(answer["x_0"].values()) == pytest.approx(rows[5].tolist())


@pytest.mark.parametrize(
    "request_of",
    [
        {"sampler": "ancestral"},
        {"sampler": "ancestral", "n_evaluations": 8, "reverse_variance": "optimal"},
        {"sampler": "ancestral", "reverse_variance": "beta"},
        {"sampler": "ancestral", "reverse_variance": "beta_tilde"},
        {"sampler": "ddim", "n_evaluations": 7, "eta": 0.5},
    ],
    ids=str,
)
def test_the_variance_of_a_step_follows_from_its_name(page, moons, request_of):
    """And DDIM's own formula gives its next point."""
    answer = page.answer(f"/api/models/{moons['model']}/particle", {"row": 5, "seed": 2, **request_of})
    kind = answer["reverse_variance"]
    assert kind == request_of.get("reverse_variance", kind)
    for step in answer["steps"][:-1]:
        a, b, (weight,) = step["a_next"], step["b"], step["weights"]["x_0_hat"]
        assert step["beta_tilde"] == pytest.approx((1 - a**2) / b**2 * step["beta"], rel=1e-6)
        by_name = {
            "beta": step["beta"],
            "beta_tilde": step["beta_tilde"],
            "optimal": step["beta_tilde"] + weight**2 * step["denoising_error"],
        }
        if request_of["sampler"] == "ancestral":
            assert step["sigma_t"] ** 2 == pytest.approx(by_name[kind], rel=1e-6)
            continue
        assert step["sigma_t"] ** 2 == pytest.approx(0.5**2 * step["beta_tilde"], rel=1e-6)
        x_0_hat, eps, z = (np.array(step[name]) for name in ("x_0_hat", "eps_theta", "noise"))
        along = np.sqrt(1 - a**2 - step["sigma_t"] ** 2)
        np.testing.assert_allclose(a * x_0_hat + along * eps + step["sigma_t"] * z, step["x_next"], atol=1e-5)


def test_particles_of_one_chain_are_those_of_their_rows(page, moons, same_fit):
    """The states of a chain are kept for the next click."""
    for row in (7, 2050, 8, 7):
        answer = page.answer(f"/api/models/{moons['model']}/particle", {"row": row, "seed": 11})
        steps = row_steps(same_fit.model_, list(walk(same_fit.model_, row, row + 1, stream=Stream(11).child("sample"))))
        for name in ("x_t", "noise"):
            of_steps = torch.stack([getattr(step, name) for step in steps])
            np.testing.assert_allclose([shown[name] for shown in answer["steps"]], of_steps, atol=1e-4)


def vars_of(model):
    return {name: getattr(model, name) for name in model.__dataclass_fields__}


def test_a_chain_ends_at_the_rows_of_sample(page, moons, same_fit):
    answered = page.post(f"/api/models/{moons['model']}/chain", {"n": 50, "seed": 2})
    header, arrays = unpack(answered.content)
    model = same_fit.model_
    assert arrays["t"].tolist() == [0, *model.sampler.times(model.schedule)]
    z = model.codec.encode(same_fit.sample(50, random_state=2))
    apart = arrays["backward"][0].astype(int) - Plane(model, (0, 1), header["limits"]).coordinates(z).astype(int)
    assert np.abs(apart).max() <= 1  # decoding and encoding round
    again = page.post(f"/api/models/{moons['model']}/chain", {"n": 50, "seed": 2})
    assert again.content == answered.content
    shorter, _ = unpack(page.post(f"/api/models/{moons['model']}/chain", {"n": 20, "seed": 2}).content)
    assert shorter["limits"] == header["limits"]


def test_forward_frames_have_the_marginals_of_q(page, moons):
    _, arrays = unpack(page.post(f"/api/models/{moons['model']}/chain", {"n": 3000, "seed": 1}).content)
    forward = arrays["forward"].astype(float)
    scale = forward[0].std(axis=0)
    for k in range(len(arrays["t"])):
        alpha_bar = arrays["alpha_bar"][k]
        unit = scale / np.sqrt(1.0)  # the data have unit variance in encoded units, about
        np.testing.assert_allclose(forward[k].std(axis=0) / unit, 1.0, atol=0.12)
        expected = np.sqrt(alpha_bar)
        along = [np.corrcoef(forward[0][:, j], forward[k][:, j])[0, 1] for j in range(2)]
        np.testing.assert_allclose(along, expected, atol=0.12)


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("chain", {"n": 0}, "n"),
        ("chain", {"n": 10**6}, "n"),
        ("chain", {"seed": -1}, "seed"),
        ("chain", {"sampler": "euler"}, "sampler"),
        ("chain", {"columns": [0, "<b>"]}, None),
        ("chain", {"trails": [1]}, "trails"),
        ("chain", {"n_evaluations": 10**9}, "n_evaluations"),
        ("particle", {"row": -1}, "row"),
        ("particle", {"eta": 0.5, "sampler": "multistep"}, None),
        ("field", {"t": 0}, "t"),
        ("field", {"t": 31}, "t"),
        ("density", {"size": 1000}, "size"),
        ("bound", {"n": 1}, "n"),
        ("bound", [1, 2], None),
    ],
)
def test_requests_that_cannot_be_answered_say_why(page, moons, name, body, field):
    answered = page.post(f"/api/models/{moons['model']}/{name}", body)
    assert answered.status == 400
    assert answered.json()["error"]["field"] == field
    assert answered.message


def test_the_steps_of_a_long_chain_are_those_of_its_frames(page):
    _, arrays = unpack(page.post("/api/models/notebook/chain", {"n": 1, "sampler": "ancestral"}).content)
    steps = page.answer("/api/models/notebook/particle", {"sampler": "ancestral"})["steps"]
    assert [step["t"] for step in steps] == arrays["t"][:0:-1].tolist()
    kept = choose_frames(1001, 2000)
    assert (len(kept), kept[0], kept[-1]) == (MOST_FRAMES, 0, 1000)
