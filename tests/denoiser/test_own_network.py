"""A user's `torch.nn.Module` as the network: trained, sampled, scored, saved and loaded; and what is refused."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from backwalk import Diffusion, InvalidInput, ModelFileError
from backwalk.datasets import two_moons
from backwalk.denoiser import build_denoiser
from backwalk.diffusion import GaussianMixtureDenoiser, NoiseSchedule, scales, x_0_from_eps
from backwalk.fit import oracle_model
from backwalk.model import bound, sample_rows
from backwalk.streams import Stream
from tests.jacobian import value_and_jacobian

STREAM = Stream(3)
SCHEDULE = NoiseSchedule.log_snr_uniform(30, log_snr_max=10.0, log_snr_min=-6.0)
ROWS = two_moons().sample(200, random_state=0)


class Mlp(nn.Module):
    """Twenty lines of a user; `last` starts at zero, as that of many networks does."""

    def __init__(self, d=2, width=16, *extra):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(d + 1, width)
        self.extra = nn.Sequential(*extra)
        self.last = nn.Linear(width, d)
        nn.init.zeros_(self.last.weight)

    def forward(self, x_t, level):
        h = torch.tanh(self.first(torch.cat([x_t, level[:, None]], dim=1)))
        return self.last(self.extra(h))


class Shared(Mlp):
    """One weight in two places, frequencies in a buffer, and a frozen layer."""

    def __init__(self):
        super().__init__(2, 16, nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 16))
        self.extra[2].weight = self.extra[0].weight
        self.extra[0].bias.requires_grad_(False)
        self.register_buffer("frequencies", torch.linspace(1.0, 2.0, 16))

    def forward(self, x_t, level):
        h = torch.sin(self.first(torch.cat([x_t, level[:, None]], dim=1)) * self.frequencies)
        return self.last(self.extra(h))


def estimator(network, **settings):
    return Diffusion(30, denoiser=network, random_state=0, verbose=False, **{"max_steps": 12, **settings})


def built(network, d=2):
    return build_denoiser(network, d, schedule=SCHEDULE, floor=0.1, stream=STREAM)


@pytest.fixture(scope="module", params=[Mlp, Shared])
def trained(request):
    return request.param, estimator(request.param(), max_steps=30).fit(ROWS)


def test_a_users_network_is_trained_and_its_own_weights_stay(trained):
    make, model = trained
    network, started = model.denoiser, make().state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, started[name])
    moved = model.model_.denoiser.network.state_dict()
    assert not torch.equal(moved["last.weight"], started["last.weight"])
    losses = model.history_.loss
    assert losses[-1] < losses[0]
    if make is Shared:
        assert torch.equal(moved["extra.0.weight"], moved["extra.2.weight"])
        assert torch.equal(moved["extra.0.bias"], started["extra.0.bias"])
        assert torch.equal(moved["frequencies"], started["frequencies"])


@pytest.mark.slow
def test_it_samples_and_scores_like_ours(trained):
    _, model = trained
    assert model.sample(5, random_state=1).shape == (5, 2)
    scores = model.score_samples(ROWS[:3])
    assert np.array_equal(scores[:1], model.score_samples(ROWS[:1]))
    assert np.isfinite([*scores, model.bound(ROWS[:9], random_state=0).total]).all()
    assert np.allclose(model.from_latent(model.to_latent(ROWS[:2])), ROWS[:2], atol=0.01)


def test_a_saved_model_is_loaded_into_a_network_of_the_same_class(trained, tmp_path):
    make, model = trained
    model.save(tmp_path / "model")
    template = make()
    with torch.no_grad():
        template.first.weight.add_(1.0)
    before = deepcopy(template.state_dict())
    loaded = Diffusion.load(tmp_path / "model", denoiser=template)
    assert np.array_equal(loaded.sample(4, random_state=2), model.sample(4, random_state=2))
    assert np.array_equal(loaded.score_samples(ROWS[:2]), model.score_samples(ROWS[:2]))
    assert all(torch.equal(tensor, before[name]) for name, tensor in template.state_dict().items())
    assert loaded.get_params()["denoiser"] is template
    again = tmp_path / "again.safetensors"
    loaded.save(again)
    assert np.array_equal(
        Diffusion.load(again, denoiser=make()).sample(4, random_state=2), loaded.sample(4, random_state=2)
    )


class Swapped(Mlp):
    def forward(self, x_t, level):
        return 2.0 * super().forward(x_t, level)


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (None, r"Mlp.*denoiser=Mlp\("),
        (Mlp(2, 24), r"size mismatch.*first\.weight"),
        (Swapped(), "another function"),
        (Mlp(3), "should map points"),
    ],
)
def test_weights_of_another_network_are_refused(network, says, tmp_path):
    path = tmp_path / "model.safetensors"
    estimator(Mlp(), max_steps=2).fit(ROWS).save(path)
    with pytest.raises(ModelFileError, match=says):
        Diffusion.load(path, denoiser=network)


def test_its_level_is_a_quarter_of_the_log_of_the_smoothed_noise_level():
    seen = []

    class Level(Mlp):
        def forward(self, x_t, level):
            seen.append(level.detach())
            return super().forward(x_t, level)

    built(Level())(torch.zeros(3, 2), torch.full((3,), -2 * math.log(0.5)))
    torch.testing.assert_close(seen[-1], torch.full((3,), 0.25 * math.log(math.hypot(0.5, 0.1))))


class Exact(nn.Module):
    """The denoiser of a mixture, as a network that predicts it in one of four ways."""

    def __init__(self, predicts):
        super().__init__()
        self.predicts, self.scale = predicts, nn.Parameter(torch.ones(()))

    def forward(self, x_t, level):
        first, last, n = 10.0, -6.0, SCHEDULE.n_steps
        log_snr = -8.0 * level if self.predicts == "F" else first + (last - first) * (n * level - 1.0) / (n - 1.0)
        x_0_hat = MIXTURE(x_t, log_snr)
        a, b = scales(log_snr, x_t)
        return (
            self.scale
            * {
                "F": (x_0_hat - a * x_t) / b,
                "eps": (x_t - a * x_0_hat) / b,
                "v": (a * x_t - x_0_hat) / b,
                "x_0": x_0_hat,
            }[self.predicts]
        )


MIXTURE = GaussianMixtureDenoiser(
    torch.tensor([0.4, 0.6]), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), 0.05 * torch.eye(2).expand(2, 2, 2)
)


@pytest.mark.parametrize("predicts", ["F", "eps", "v", "x_0"])
def test_one_denoiser_is_one_model_whatever_its_network_predicts(predicts):
    rows = STREAM.normal(0, 200, 2)
    denoiser = build_denoiser(Exact(predicts), 2, schedule=SCHEDULE, floor=0.0, stream=STREAM, predicts=predicts)
    models = [oracle_model(each, rows, SCHEDULE, stream=Stream(1)) for each in (MIXTURE, denoiser)]
    with torch.no_grad():
        drawn = [sample_rows(model, 0, 50, stream=Stream(2)) for model in models]
        bounds = [float(bound(model, rows[:50], stream=Stream(4)).total) for model in models]
    np.testing.assert_allclose(*drawn, atol=2e-3)
    np.testing.assert_allclose(*bounds, rtol=1e-3)


@pytest.mark.parametrize("predicts", ["eps", "v", "x_0"])
def test_a_file_says_what_a_users_network_predicts(predicts, tmp_path):
    model = estimator(Mlp(), max_steps=3, predicts=predicts).fit(ROWS)
    model.save(tmp_path / "model")
    loaded = Diffusion.load(tmp_path / "model", denoiser=Mlp())
    assert loaded.predicts == predicts
    assert np.array_equal(loaded.sample(4, random_state=2), model.sample(4, random_state=2))


def test_the_notebook_takes_a_users_network_as_one_of_eps_and_t_over_n():
    seen = []

    class Eps(Mlp):
        def forward(self, x_t, t):
            seen.append(t.detach())
            return super().forward(x_t, t)

    line = NoiseSchedule.linear(100, beta_max=0.1)
    model = Diffusion.ddpm(denoiser=Eps(), schedule=line, n_epochs=2, random_state=0, verbose=False).fit(ROWS)
    x_t, schedule = STREAM.normal(0, 3, 2, torch.float32), model.schedule_
    x_0_hat = model.denoiser_(x_t, schedule.log_snr[50])
    torch.testing.assert_close(seen[-1], torch.full((3,), 0.5))
    eps = model.denoiser_.network(x_t, torch.full((3,), 0.5))
    torch.testing.assert_close(x_0_from_eps(x_t, eps, schedule.log_snr[50]), x_0_hat)


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"denoiser": Mlp(), "predicts": "noise"}, '"F", "eps", "v" or "x_0"'), ({"predicts": "eps"}, "of your own")],
)
def test_a_prediction_that_no_network_makes_is_refused(settings, says):
    with pytest.raises(InvalidInput, match=says):
        Diffusion(max_steps=2, **settings).fit(ROWS)


def test_derivatives_are_those_of_jacrev():
    denoiser = built(Mlp(2, 16, nn.Linear(16, 16), nn.SiLU()))
    nn.init.normal_(denoiser.network.last.weight)
    x, log_snr = STREAM.normal(0, 6, 2, torch.float32), torch.tensor(1.0)
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            value, jacobian = value_and_jacobian(denoiser, x, log_snr)
        torch.testing.assert_close(value, denoiser(x, log_snr).detach())
        by_row = torch.func.vmap(torch.func.jacrev(lambda row: denoiser(row[None], log_snr)[0]))(x)
        torch.testing.assert_close(jacobian, by_row.detach())


def test_gradients_of_frozen_and_of_idle_parameters_are_zero():
    network = Shared()
    network.idle = nn.Parameter(torch.ones(3))
    denoiser = built(network)
    x = STREAM.normal(0, 8, 2, torch.float32)[None]
    _, gradients = denoiser.loss_and_gradients(x, x, torch.zeros(1, 8), torch.ones(1, 8))
    by_name = dict(zip((name for name, _ in denoiser.named_parameters()), gradients, strict=True))
    assert not by_name["network.idle"].any()
    assert not by_name["network.extra.0.bias"].any()
    assert bool(by_name["network.last.weight"].any())


class Returning(Mlp):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x_t, level):
        return self.function(super().forward(x_t, level))


class OfPointsAlone(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)


class Noisy(Mlp):
    def forward(self, x_t, level):
        return super().forward(x_t, level) + torch.randn_like(x_t)


class Lost(Mlp):
    def forward(self, x_t, level):
        with torch.no_grad():
            return super().forward(x_t, level)


class OfSteps(Mlp):
    """Looks up the step, which is none here."""

    def __init__(self):
        super().__init__()
        self.steps = nn.Embedding(101, 16)

    def forward(self, x_t, t):
        return self.last(torch.tanh(self.first(torch.cat([x_t, x_t[:, :1]], dim=1)) + self.steps(t)))


REFUSED = {
    "a class": (lambda: Mlp, r"give an instance, Mlp\("),
    "an embedding of steps": (OfSteps, r"levels \(6,\), which are real numbers"),
    "one column too few": (lambda: Returning(lambda f: f[:, :1]), r"shape \(6, 2\).*\(6, 1\)"),
    "NaN": (lambda: Returning(lambda f: f / 0 * 0), "NaN"),
    "random": (Noisy, "same arguments"),
    "rows together": (lambda: Returning(lambda f: f - f.mean(0)), "every row on its own"),
    "batch normalisation": (lambda: Mlp(2, 16, nn.BatchNorm1d(16)), r"extra\.0: BatchNorm1d"),
    "dropout": (lambda: Mlp(2, 16, nn.Dropout(0.5)), r"extra\.0: Dropout"),
    "float64": (lambda: Mlp().double(), r"first\.weight.*float32.*float64"),
    "meta": (lambda: Mlp().to("meta"), '"meta"'),
    "frozen": (lambda: Mlp().requires_grad_(False), "requires_grad"),
    "no gradient": (Lost, "no gradient"),
    "a denoiser": (lambda: built(Mlp()), "NetworkDenoiser"),
}


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_is_refused_before_any_training(make, says):
    def never(progress):
        raise AssertionError

    state = torch.get_rng_state()
    network = make()
    torch.set_rng_state(state)
    with pytest.raises(InvalidInput, match=says):
        estimator(network, callbacks=[never]).fit(ROWS)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_transposed_weight_is_trained_like_a_plain_one():
    """The fused step of Adam reads memory, whatever the strides."""
    plain, turned = Mlp(), Mlp()
    turned.first.weight.data = turned.first.weight.data.t().contiguous().t()
    one, other = (estimator(network, max_steps=3).fit(ROWS).denoiser_.network for network in (plain, turned))
    torch.testing.assert_close(one.first.weight, other.first.weight)
