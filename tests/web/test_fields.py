"""Fields, densities and bounds are the library's, beside the exact ones."""

import numpy as np
import pytest
import torch

from backwalk import Diffusion
from backwalk.datasets import mixture_form, two_moons
from backwalk.diffusion import NoiseSchedule, eps_from_x_0, score_from_x_0
from backwalk.model import denoise
from backwalk.streams import Stream
from backwalk.web import shipped
from backwalk.web.plane import unpack


def test_a_field_stands_beside_the_exact_one(page):
    """For the shipped model they nearly agree, and the difference is stated."""
    for what in ("score", "x_0_hat", "eps"):
        answered = page.post("/api/models/start/field", {"t": 500, "what": what, "size": 5})
        header, arrays = unpack(answered.content)
        assert arrays["learned"].shape == arrays["exact"].shape == (5, 5, 2)
        assert header["relative"] < 0.2
        assert header["rms"] == pytest.approx(header["relative"] * header["rms_exact"])
        model = Diffusion.load(shipped.FOLDER / shipped.MODELS[shipped.START].file, device="cpu").model_
        log_snr = model.schedule.log_snr[500]
        x, y = np.meshgrid(arrays["x"], arrays["y"])
        x_t = torch.from_numpy(np.stack([x.ravel(), y.ravel()], axis=1))
        centre, scale = (model.codec.decode([[end, end]])[0] for end in (0.0, 1.0))
        exact = mixture_form(two_moons()).encoded(centre, scale - centre).denoiser()
        for name in ("learned", "exact"):
            x_0_hat = exact(x_t, log_snr) if name == "exact" else denoise(model, x_t.float(), log_snr).double()
            expected = {
                "x_0_hat": x_0_hat,
                "eps": eps_from_x_0(x_t, x_0_hat, log_snr),
                "score": score_from_x_0(x_t, x_0_hat, log_snr),
            }[what]
            np.testing.assert_allclose(arrays[name].reshape(-1, 2), expected, rtol=1e-4, atol=1e-5)


def test_a_density_stands_beside_the_exact_one(page, moons, same_fit):
    header, arrays = unpack(page.post(f"/api/models/{moons['model']}/density", {"size": 4}).content)
    x, y = np.meshgrid(arrays["x"], arrays["y"])
    rows = same_fit.codec_.decode(np.stack([x.ravel(), y.ravel()], axis=1))
    np.testing.assert_allclose(arrays["log_p"].ravel(), same_fit.score_samples(rows), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(arrays["exact"].ravel(), two_moons().log_prob(rows), rtol=1e-6)
    assert header["difference"]["error"] > 0.0


@pytest.mark.slow
def test_the_bound_is_the_library_s(page, moons, same_fit):
    answer = page.answer(f"/api/models/{moons['model']}/bound", {"n": 100, "seed": 4})
    rows = two_moons().sample_rows(0, 100, stream=Stream(4).child("unseen"))
    terms = same_fit.bound(rows, random_state=4)
    assert answer["rows"] == "new draws"
    ladder = {step["name"]: step for step in answer["ladder"]}
    assert list(ladder) == ["entropy", "ode", "bound"]
    assert ladder["entropy"]["value"] == pytest.approx(two_moons().entropy)
    assert answer["bound"] == pytest.approx(terms.total, rel=1e-6)
    truth = two_moons().log_prob(rows)
    assert answer["bound"] + answer["pairing"] == pytest.approx(ladder["bound"]["value"])
    for name, nats in (("bound", terms.per_row.numpy()), ("ode", -same_fit.score_samples(rows))):
        above = nats + truth  # paired with the entropy, row by row
        assert ladder[name]["value"] == pytest.approx(two_moons().entropy + above.mean(), rel=1e-6)
        assert ladder[name]["error"] == pytest.approx(above.std(ddof=1) / 10.0, rel=1e-6)
    total = answer["prior"] + sum(term["value"] for term in answer["terms"]) + answer["reconstruction"]
    assert total == pytest.approx(terms.total)
    assert [term["t"] for term in answer["terms"]] == list(range(2, 31))


def test_a_schedule_is_drawn_as_the_library_has_it(page):
    """The model's own without a choice; a line to the beta that is asked for."""
    own = page.answer("/api/models/notebook/schedule")
    assert own["alpha_bar_N"] == pytest.approx(0.3475, abs=5e-5)
    drawn = page.answer("/api/models/start/schedule", {"schedule": "linear", "n_steps": 50, "beta_max": 0.1})
    schedule = NoiseSchedule.linear(50, beta_max=0.1)
    np.testing.assert_allclose(drawn["beta"], schedule.beta[1:])
    np.testing.assert_allclose(drawn["alpha_bar"], schedule.alpha_bar[1:])
    np.testing.assert_allclose(10.0 ** np.array(drawn["log10_snr"]), schedule.log_snr[1:].exp())
    assert drawn["alpha_bar_N"] == drawn["alpha_bar"][-1] == pytest.approx(drawn["signal_N"] ** 2)
    assert len(page.answer("/api/models/start/schedule", {"schedule": "cosine", "n_steps": 5000})["t"]) <= 300
