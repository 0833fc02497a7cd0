"""Denoisers that read data through an embedding, and the models that have one."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from backwalk import (
    Diffusion,
    FCEmbedding,
    InvalidInput,
    ModelFileError,
    Residual,
    Training,
    posterior,
)
from backwalk.denoiser import DataColumns, EmbeddingDenoiser, TableLayout, build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.streams import Stream
from backwalk.table import Codec, ConstantColumn, LevelsColumn, NumberColumn
from backwalk.training.batches import Batch
from backwalk.training.learner import Learner

STREAM = Stream(5)
SCHEDULE = NoiseSchedule.log_snr_uniform(30, log_snr_max=8.0, log_snr_min=-6.0)
NUMBER = NumberColumn(0.0, 1.0)
CODEC = Codec((NUMBER, LevelsColumn((0.0, 1.0, 2.0), (0.5, 0.3, 0.2), "one-hot"), NUMBER, ConstantColumn(1.0), NUMBER))
DATA = [2, 3, 4]
NAMES = [f"x{i}" for i in range(8)]


class Mean(nn.Module):
    """The mean of the data, and a count of the rows that it was asked for."""

    def __init__(self, m=8):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.n_rows = nn.Linear(m, 2), 0

    def forward(self, x):
        self.n_rows += len(x)
        return self.layer(x)


class Twice(Mean):
    def forward(self, x):
        return 2.0 * super().forward(x)


def denoiser_of(n_members=1, embedding=None):
    data = DataColumns.of(CODEC, DATA)
    made = build_denoiser(
        Residual(16, 1, n_members),
        CODEC.n_encoded,
        schedule=SCHEDULE,
        floor=0.1,
        stream=STREAM.child("weights"),
        layout=TableLayout(data.codec),
        embedding=embedding or FCEmbedding(4, width=8),
        data=data,
    )
    assert isinstance(made, EmbeddingDenoiser)
    with torch.no_grad():
        for i, parameter in enumerate(made.parameters()):
            shape = parameter.numel(), 1
            parameter.add_(STREAM.child("move", i).normal(0, *shape, torch.float32).reshape(parameter.shape), alpha=0.2)
    return made


def batch(n_members=1, n=6):
    k, of_data = CODEC.n_encoded, DataColumns.of(CODEC, DATA).coordinates
    x_0, eps = (STREAM.child(name).normal(0, n_members * n, k, torch.float32) for name in ("x", "eps"))
    log_snr = STREAM.child("level").normal(0, n_members * n, 1, torch.float32).repeat(1, k)
    weight = torch.ones_like(log_snr)
    log_snr[:, of_data], weight[:, of_data] = torch.inf, 0.0
    return Batch(*(part.reshape(n_members, n, k) for part in (x_0, eps, log_snr, weight)))


def simulations(n, seed=0):
    """A normal parameter, and eight measurements of it with errors of 0.7."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=(n, 1))
    return pd.DataFrame(np.hstack([theta, theta + 0.7 * rng.normal(size=(n, 8))]), columns=["theta", *NAMES])


def estimator(embedding, **settings):
    plan = Training(batch_size=128, learning_rate=0.01, max_steps=20)
    settings = {"denoiser": Residual(16, 1, 1), "training": plan, **settings}
    return Diffusion(30, conditions=[NAMES], embedding=embedding, random_state=0, verbose=False, **settings)


SIMULATIONS = simulations(300)


@pytest.fixture(scope="module", params=[FCEmbedding(4, width=8), Mean()], ids=["ours", "own"])
def trained(request):
    return estimator(request.param).fit(SIMULATIONS)


def test_gradients_are_those_of_the_loss():
    denoiser, of_all = denoiser_of(), batch()
    loss, gradients = Learner(denoiser, Training(batch_size=6, learning_rate=0.01, max_steps=1)).gradients(of_all)
    direct = torch.autograd.grad(denoiser.loss(*of_all) / 6, list(denoiser.parameters()))
    assert float(direct[-1].abs().max()) > 0.0  # the embedding's
    for one, whole in zip(gradients, direct, strict=True):
        torch.testing.assert_close(one, whole)
    torch.testing.assert_close(loss, denoiser.loss(*of_all).detach() / 6)


def test_noise_of_the_data_does_not_count_and_the_data_do():
    denoiser, (x_0, eps, log_snr, weight) = denoiser_of(), batch()
    of_data = denoiser.coordinates
    other_noise, other_data = eps.clone(), x_0.clone()
    other_noise[..., of_data], other_data[..., of_data] = 7.0, 1.5
    value = denoiser.loss(x_0, eps, log_snr, weight)
    assert denoiser.loss(x_0, other_noise, log_snr, weight) == value
    assert denoiser.loss(other_data, eps, log_snr, weight) != value
    torch.testing.assert_close(denoiser.losses(x_0[0], eps[0], log_snr[0], weight[0]).sum(), value)


def test_rows_with_given_levels_are_those_of_the_whole_denoiser():
    denoiser, (x_0, _, log_snr, _) = denoiser_of(), batch(1)
    block = CODEC.blocks[0].coordinates
    rows, levels = x_0[0].clone(), log_snr[0].clone()
    rows[:, block] = torch.eye(3)[torch.arange(6) % 3][:, : block.stop - block.start]
    rows[:, block] = torch.as_tensor(CODEC.blocks[0].codes, dtype=torch.float32)[torch.arange(6) % 3]
    levels[:, block] = torch.inf
    given = denoiser.given_levels(rows, torch.isinf(levels))
    with torch.no_grad():
        torch.testing.assert_close(given(rows, levels), denoiser(rows, levels))
    number = torch.zeros(1, *rows.shape)
    number[..., 0] = 1.0
    value, push = given.linearize(rows, levels)
    ahead, behind = (given(rows + s * 1e-2 * number[0], levels) for s in (1.0, -1.0))
    torch.testing.assert_close(push(number)[0][:, 0], (ahead - behind)[:, 0] / 2e-2, atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(value, given(rows, levels))


@pytest.mark.slow
def test_a_fit_learns_the_posterior_of_a_normal_mean():
    """Eight measurements with errors of 0.7 have the precision 1 + 8 / 0.49, and their mean all that is known."""
    plan = Training(batch_size=128, learning_rate=0.01, max_steps=200)
    model = estimator(FCEmbedding(4, width=16), training=plan).fit(simulations(1500))
    unseen, precision = simulations(20, seed=1), 1.0 + 8 / 0.49
    draws = posterior(model, given=NAMES).sample_batched((100,), unseen[NAMES], random_state=0, sampler="multistep")
    exact = unseen[NAMES].to_numpy().sum(axis=1) / 0.49 / precision
    error = draws.mean(0)[:, 0].numpy() - exact
    assert np.sqrt(np.mean(error**2)) * precision**0.5 < 0.7  # by the prior's mean alone it would be 4
    assert 0.8 < float(draws.std(0).mean()) * precision**0.5 < 1.3


@pytest.mark.slow
def test_a_gradient_of_log_prob_is_that_of_its_differences(trained):
    of_theta = posterior(trained, given=NAMES).set_default_x(SIMULATIONS[NAMES].iloc[0])
    theta = torch.tensor([[0.3], [-0.2]], dtype=torch.float64, requires_grad=True)
    of_theta.log_prob(theta).sum().backward()
    with torch.no_grad():
        ahead, behind = (of_theta.log_prob(theta + step) for step in (0.02, -0.02))
    torch.testing.assert_close(theta.grad[:, 0], (ahead - behind) / 0.04, atol=0.02, rtol=0.02)


def test_the_decay_shrinks_the_weights_of_the_embedding_alone():
    denoiser = denoiser_of()
    before = {name: parameter.detach().clone() for name, parameter in denoiser.named_parameters()}
    learner = Learner(denoiser, Training(batch_size=6, learning_rate=0.1, max_steps=1, embedding_decay=0.5))
    nothing = [torch.zeros_like(parameter) for parameter in denoiser.parameters()]
    learner.gradients = lambda *_: (torch.zeros(()), nothing)
    learner.step(batch(), 0, 1.0)
    for name, parameter in denoiser.named_parameters():
        is_shrunk = name.startswith("embedding") and parameter.ndim > 1
        torch.testing.assert_close(parameter.detach(), before[name] * (0.95 if is_shrunk else 1.0))


@pytest.mark.slow
def test_a_saved_model_draws_and_scores_the_same(trained, tmp_path):
    trained.save(tmp_path / "model")
    own = trained.embedding if isinstance(trained.embedding, nn.Module) else None
    loaded = Diffusion.load(tmp_path / "model", embedding=own)
    for model in (trained, loaded):
        of_theta = posterior(model, given=NAMES).set_default_x(SIMULATIONS[NAMES].iloc[0])
        theta = of_theta.sample((4,), random_state=1)
        model.results_ = theta, of_theta.log_prob(theta)
    for one, other in zip(trained.results_, loaded.results_, strict=True):
        assert torch.equal(one, other)
    assert loaded.get_params()["embedding"] == trained.embedding


def test_weights_of_another_embedding_are_refused(trained, tmp_path):
    trained.save(tmp_path / "model")
    wrong = [(Mean(), "leave `embedding` out")]
    if isinstance(trained.embedding, nn.Module):
        wrong = [(None, r"embedding=Mean\("), (Twice(), "another function"), (Mean(9), "data")]
    for given, says in wrong:
        with pytest.raises(ModelFileError, match=says):
            Diffusion.load(tmp_path / "model", embedding=given)


ASKED = {
    "draws of whole rows": lambda model: model.sample(2),
    "draws given some data": lambda model: model.sample(2, given={"x0": 0.5}),
    "densities of whole rows": lambda model: model.score_samples(SIMULATIONS[:2]),
    "the likelihood": lambda model: model.score_samples(SIMULATIONS[:2], given=["theta"]),
    "the bound": lambda model: model.bound(SIMULATIONS[:2]),
    "latents": lambda model: model.to_latent(SIMULATIONS[:2]),
    "imputation of data": lambda model: model.impute(SIMULATIONS[:2].assign(x3=np.nan)),
    "the chain": lambda model: list(model.walk(2)),
    "a posterior given other columns": lambda model: posterior(model, given=["theta"]),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_what_is_not_given_all_data_is_refused(ask, trained):
    with pytest.raises(InvalidInput, match="embedding"):
        ask(trained)


def test_a_row_does_not_depend_on_the_others(trained):
    of_theta = posterior(trained, given=NAMES).set_default_x(SIMULATIONS[NAMES].iloc[0])
    few, many = (of_theta.sample((n,), random_state=2) for n in (3, 40))
    assert torch.equal(few, many[:3])


REFUSED = {
    "conditions on any columns": (lambda: estimator(Mean()).set_params(conditions="any"), SIMULATIONS, "conditions"),
    "two sets": (lambda: estimator(Mean()).set_params(conditions=[["x0"], ["x1"]]), SIMULATIONS, "conditions"),
    "gaps in the data": (lambda: estimator(Mean()), SIMULATIONS.assign(x1=[None, *SIMULATIONS.x1[1:]]), "gaps"),
    "labels in the data": (lambda: estimator(Mean()), SIMULATIONS.assign(x1=["a", "b"] * 150), "levels|texts"),
    "no parameters": (lambda: estimator(Mean()), SIMULATIONS.assign(theta=1.0), "parameters"),
    "a rule": (lambda: estimator(Mean(), rules=["x0 <= x1"]), SIMULATIONS, "rules"),
    "no module": (lambda: estimator("cnn"), SIMULATIONS, "CNNEmbedding"),
    "a network of one's own": (lambda: estimator(Mean(), denoiser=nn.Linear(2, 2)), SIMULATIONS, "Residual"),
}


@pytest.mark.parametrize(("make", "rows", "says"), REFUSED.values(), ids=REFUSED)
def test_what_an_embedding_cannot_serve_is_refused_before_training(make, rows, says):
    def never(progress):
        raise AssertionError

    with pytest.raises(InvalidInput, match=says):
        make().set_params(callbacks=[never]).fit(rows)
