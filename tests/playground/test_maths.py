"""The page's mathematics in JavaScript against the library's, on random input: its numbers are the library's."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from backwalk.denoiser import Residual, Textbook
from backwalk.denoiser.preconditioning import NoiseDenoiser, ResidualDenoiser
from backwalk.diffusion import (
    GaussianMixtureDenoiser,
    NoiseSchedule,
    beta_tilde_variance,
    beta_variance,
    eps_from_x_0,
    evenly_spaced,
    integrate_ode,
    log_density,
    prior_mismatch,
    q_posterior,
    q_sample,
    scales,
    v_from_eps,
    variational_bound,
    x_0_from_eps,
    x_0_from_v,
)
from backwalk.sampling import SOLVERS, Visit
from backwalk.streams import Stream

N_CASES = 100
ARRAYS = {
    "alphaBar": "alpha_bar",
    "noise": "one_minus_alpha_bar",
    "alpha": "alpha",
    "beta": "beta",
    "betaTilde": "beta_tilde",
    "x0Weight": "x_0_weight",
    "xtWeight": "x_t_weight",
    "noiseLevel": "noise_level",
}


def schedules(rng):
    """Yield random schedules: JavaScript that makes one, and the library's."""
    for _ in range(N_CASES):
        n = int(rng.integers(2, 400))
        low, high = rng.uniform(1e-5, 5e-3), rng.uniform(0.01, 0.4)
        offset, most, least = rng.uniform(0.0, 0.02), rng.uniform(4.0, 14.0), rng.uniform(-14.0, -1.0)
        yield f"schedule.linear({n}, {low!r}, {high!r})", NoiseSchedule.linear(n, beta_min=low, beta_max=high)
        yield f"schedule.cosine({n}, {offset!r})", NoiseSchedule.cosine(n, offset=offset)
        uniform = NoiseSchedule.log_snr_uniform(n, log_snr_max=most, log_snr_min=least)
        yield f"schedule.logSnrUniform({n}, {most!r}, {least!r})", uniform


def test_schedules_are_those_of_the_library(maths):
    pairs = list(schedules(np.random.default_rng(0)))
    found = maths(f"return [{', '.join(made for made, _ in pairs)}].map(({{logSnr, ...rest}}) => rest);")
    for ours, (_, theirs) in zip(found, pairs, strict=True):
        for name, attribute in ARRAYS.items():
            np.testing.assert_allclose(ours[name], getattr(theirs, attribute).numpy(), rtol=1e-12, atol=1e-300)


def test_respaced_chains_are_those_of_the_library(maths):
    rng, pairs = np.random.default_rng(11), list(schedules(np.random.default_rng(0)))[:N_CASES]
    times = [evenly_spaced(theirs.n_steps, int(rng.integers(1, theirs.n_steps + 1))) for _, theirs in pairs]
    made = ", ".join(made for made, _ in pairs)
    found = maths(f"return [{made}].map((s, i) => schedule.respace(s, given.times[i]).betaTilde);", times=times)
    for ours, (_, theirs), visited in zip(found, pairs, times, strict=True):
        np.testing.assert_allclose(ours, theirs.respace(visited).beta_tilde.numpy(), rtol=1e-12)


def test_evenly_spaced_steps_are_those_of_the_library(maths):
    sizes = [(n, k) for n in (1, 7, 40, 100, 1000) for k in (1, 2, 3, 5, 10, 20, 50) if k <= n]
    found = maths("return given.sizes.map(([n, k]) => schedule.evenSteps(n, k));", sizes=sizes)
    assert found == [evenly_spaced(n, k) for n, k in sizes]


def test_what_the_start_costs_is_that_of_the_library(maths):
    rng, cases = np.random.default_rng(1), []
    for _ in range(N_CASES):
        x = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 2)) + rng.normal(size=2)
        cases.append((x.mean(axis=0), np.cov(x.T, ddof=0)))
    found = maths(
        "return given.cases.map((moments) => schedule.priorMismatch(schedule.linear(100), moments));",
        cases=[{"mean": mean.tolist(), "covariance": covariance.ravel().tolist()} for mean, covariance in cases],
    )
    theirs = [prior_mismatch(*map(torch.from_numpy, case), NoiseSchedule.linear(100)) for case in cases]
    np.testing.assert_allclose(found, theirs, rtol=1e-10)


def test_steps_of_both_chains_are_those_of_the_library(maths):
    rng = np.random.default_rng(2)
    schedule, cases = NoiseSchedule.linear(40, beta_max=0.2), []
    for _ in range(N_CASES):
        x_t, x_0, z = (rng.normal(size=6) for _ in range(3))
        cases.append((x_t, x_0, z, int(rng.integers(2, 41)), rng.uniform()))
    found = maths(
        """const s = schedule.linear(40, 1e-3, 0.2);
        return given.cases.map(({xt, x0, z, t, eta}) => [forward.qSample(x0, z, t, s), forward.epsOf(xt, x0, t, s),
            forward.qPosterior(xt, x0, t, s).mean, [forward.qPosterior(xt, x0, t, s).variance],
            ...[{ name: "ancestral", variance: "beta" }, { name: "ancestral", variance: "betaTilde" },
                { name: "ddim", eta }].flatMap((sampler) => {
                const { mean, sigma } = reverse.transition(xt, x0, t, s, sampler);
                return [mean, [sigma]];
            })]);""",
        cases=[{"xt": a.tolist(), "x0": b.tolist(), "z": z.tolist(), "t": t, "eta": eta} for a, b, z, t, eta in cases],
    )
    for ours, (x_t, x_0, z, t, eta) in zip(found, cases, strict=True):
        x_t, x_0, z = (torch.from_numpy(x).reshape(3, 2) for x in (x_t, x_0, z))
        posterior = q_posterior(x_t, x_0, t, schedule)
        theirs = [
            q_sample(x_0, t, z, schedule),
            eps_from_x_0(x_t, x_0, schedule.log_snr[t]),
            posterior.mean,
            torch.as_tensor(posterior.variance).reshape(-1)[:1],
        ]
        for name, sigma_sq in (
            ("ancestral", beta_variance(schedule)),
            ("ancestral", beta_tilde_variance(schedule)),
            ("ddim", schedule.beta),
        ):
            solver = SOLVERS[name].make(sigma_sq, eta)
            sigma = torch.tensor([solver.sigma(t, schedule)], dtype=torch.float64)
            theirs += [solver.mean([Visit(x_t, x_0)], t, schedule), sigma]
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, other.double().ravel().numpy(), rtol=1e-12, atol=1e-12)


def test_a_walk_takes_the_steps_of_its_sampler_down_to_0(maths):
    found = maths(
        """const s = schedule.linear(7, 1e-3, 0.2), sampler = { name: "ancestral", variance: "betaTilde" };
        const states = [...reverse.walk((x) => x.map((value) => value / 2), given.x, s, sampler, (t) => [t, -t])];
        return states.map(({ t, x, x0Hat }, i) => {
            if (t === 0) return { t, x, next: x };
            const { mean, sigma } = reverse.transition(x, x0Hat, t, s, sampler);
            return { t, x, next: [mean[0] + sigma * t, mean[1] - sigma * t] };
        });""",
        x=[0.3, -0.8],
    )
    assert [state["t"] for state in found] == [7, 6, 5, 4, 3, 2, 1, 0]
    for state, following in pairwise(found):
        np.testing.assert_allclose(state["next"], following["x"], rtol=1e-12)
    np.testing.assert_allclose(found[-1]["x"], 0.5 * np.array(found[-2]["x"]), rtol=1e-12)  # x_0_hat: no noise is added


def test_the_exact_denoiser_of_a_mixture_is_that_of_the_library(maths):
    rng = np.random.default_rng(3)
    centres, x_t, log_snr = rng.normal(size=(50, 2)), rng.normal(size=(N_CASES, 2)), rng.uniform(-8.0, 8.0, N_CASES)
    for variance in ([0.0, 0.0], [0.01, 0.01], [0.3, 0.02]):
        found = maths(
            """const d = exact.mixtureDenoiser(given.centres, given.variance);
            return given.levels.map((level, i) => d.withTrace(given.xt.slice(2 * i, 2 * i + 2), level));""",
            centres=centres.ravel().tolist(),
            variance=variance,
            xt=x_t.ravel().tolist(),
            levels=log_snr.tolist(),
        )
        covariances = torch.diag(torch.tensor(variance, dtype=torch.float64)).expand(50, 2, 2)
        theirs = GaussianMixtureDenoiser(torch.ones(50), torch.from_numpy(centres), covariances)
        for ours, x, level in zip(found, torch.from_numpy(x_t), log_snr.tolist(), strict=True):
            level = torch.tensor(level, dtype=torch.float64)
            np.testing.assert_allclose(ours["x0Hat"], theirs(x[None], level)[0].numpy(), rtol=1e-10, atol=1e-10)
            jacobian = torch.func.jacrev(lambda x, level=level, theirs=theirs: theirs(x[None], level)[0])(x)
            assert ours["trace"][0] == pytest.approx(float(jacobian.trace()), rel=1e-7, abs=1e-7)


def made_network(which, seed):
    """Return the library's denoiser with random weights, their record for JavaScript, and a schedule."""
    schedule, stream = NoiseSchedule.linear(40, beta_max=0.2), Stream(seed)
    if which == "textbook":
        denoiser = NoiseDenoiser(Textbook().build(2, stream=stream), 1, schedule)
        layers = list(denoiser.network.layers)
    else:
        denoiser = ResidualDenoiser(Residual().build(2, stream=stream), 1, 0.05, (-math.inf, math.inf))
        network = denoiser.network
        pairs = [layer for pair in zip(network.open, network.close, strict=True) for layer in pair]
        layers = [network.enter, *pairs, network.leave]
    with torch.no_grad():  # also the weights that start at zero
        for i, layer in enumerate(layers):
            for j, tensor in enumerate((layer.weight, layer.bias)):
                draws = stream.child("moved", i, j).normal(0, tensor.numel(), 1).reshape(tensor.shape)
                tensor += (0.1 * draws).to(tensor)
    weights = [{"weight": x.weight[0].ravel().tolist(), "bias": x.bias.ravel().tolist()} for x in layers]
    return denoiser, layers, weights, schedule


SETUP = """const s = schedule.linear(40, 1e-3, 0.2);
    const net = new network[given.which === "textbook" ? "Textbook" : "Residual"]({ rows: given.rows });
    given.weights.forEach(({ weight, bias }, i) => net.setWeights(i, weight, bias));
    const model = new denoiser.NetworkDenoiser(net, given.which === "textbook" ? { predicts: "eps", schedule: s }
        : { predicts: "F", floor: 0.05 });"""


@pytest.mark.parametrize("which", ["textbook", "residual"])
def test_networks_and_their_gradients_are_those_of_the_library(maths, which):
    theirs, layers, weights, schedule = made_network(which, 4)
    rng = np.random.default_rng(5)
    x_0, eps = (torch.from_numpy(rng.normal(size=(N_CASES, 2))).float() for _ in range(2))
    t = rng.integers(1, 41, N_CASES)
    log_snr = schedule.log_snr[t].float()
    found = maths(
        SETUP
        + """const loss = model.lossAndGradient(given.x0, given.eps, given.levels);
        const gradients = net.layers.map(({ asked: [n, m], weightGradient, biasGradient, m: wide }) => [
            Array.from({ length: n * m }, (_, k) => weightGradient[Math.floor(k / m) * wide + (k % m)]),
            biasGradient.slice(0, m)]);
        return { loss, gradients, size: net.size, estimates: model.at(given.eps, given.levels[0]) };""",
        which=which,
        rows=N_CASES,
        weights=weights,
        x0=x_0.ravel().tolist(),
        eps=eps.ravel().tolist(),
        levels=log_snr.tolist(),
    )
    assert found["size"] == (Textbook() if which == "textbook" else Residual()).n_parameters(2)
    with torch.no_grad():
        np.testing.assert_allclose(found["estimates"], theirs(eps, log_snr[0]).ravel().numpy(), rtol=1e-5, atol=1e-5)
    # L_simple for the network of eps, the v-loss for the other.
    weight = log_snr.exp() if which == "textbook" else 1.0 + log_snr.exp()
    loss = theirs.loss(x_0[None], eps[None], log_snr[None], weight[None]) / N_CASES
    assert found["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    parameters = [tensor for layer in layers for tensor in (layer.weight, layer.bias)]
    gradients = torch.autograd.grad(loss, parameters)
    size = max(float(gradient.abs().max()) for gradient in gradients)
    for mine, other in zip([part for pair in found["gradients"] for part in pair], gradients, strict=True):
        np.testing.assert_allclose(mine, other.ravel().numpy(), rtol=1e-5, atol=1e-5 * size)


@pytest.mark.parametrize("predicts", ["eps", "v", "x_0"])
def test_what_a_network_predicts_means_what_it_means_in_the_library(maths, predicts):
    theirs, layers, weights, schedule = made_network("textbook", 12)
    rng = np.random.default_rng(13)
    x_0, eps = (torch.from_numpy(rng.normal(size=(N_CASES, 2))).float() for _ in range(2))
    t = rng.integers(1, 41, N_CASES)
    log_snr = schedule.log_snr[t][:, None]
    given = {"weights": weights, "x0": x_0.ravel().tolist(), "eps": eps.ravel().tolist(), "predicts": predicts}
    found = maths(
        SETUP.replace('predicts: "eps"', "predicts: given.predicts")
        + """const w = bound.errorWeights(s), of = (errorWeight) => {
            const loss = model.lossAndGradient(given.x0, given.eps, given.levels, errorWeight);
            return { loss, bias: net.layers.at(-1).biasGradient.slice(0, 2) };
        };
        return { simple: of(null), bound: of(given.t.map((step) => w[step])),
                 estimates: model.at(given.eps, s.logSnr[7]) };""",
        which="textbook",
        rows=N_CASES,
        levels=log_snr.ravel().tolist(),
        t=t.tolist(),
        **given,
    )

    def output(x_t, share):
        return theirs.network(x_t[None], share.reshape(1, -1, 1).float())[0].double()

    to_x_0 = {"eps": x_0_from_eps, "v": x_0_from_v, "x_0": lambda _, out, __: out}[predicts]
    with torch.no_grad():
        estimates = to_x_0(eps.double(), output(eps, torch.full((N_CASES,), 7 / 40)), schedule.log_snr[7])
    np.testing.assert_allclose(found["estimates"], estimates.ravel().numpy(), rtol=1e-5, atol=1e-5)
    x_t = scales(log_snr, x_0.double())[0] * x_0.double() + scales(log_snr, x_0.double())[1] * eps.double()
    out = output(x_t.float(), torch.from_numpy(t / 40))
    target = {"eps": eps.double(), "v": v_from_eps(x_t, eps.double(), log_snr), "x_0": x_0.double()}[predicts]
    weight = schedule.x_0_weight[t] ** 2 / (
        2.0 * torch.where(torch.from_numpy(t == 1), schedule.beta[t], schedule.beta_tilde[t])
    )
    losses = {
        "simple": (out - target).square().sum(dim=1).mean(),
        "bound": (weight * (to_x_0(x_t, out, log_snr) - x_0).square().sum(dim=1)).mean(),
    }
    for name, loss in losses.items():
        assert found[name]["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
        gradient = torch.autograd.grad(loss, layers[-1].bias, retain_graph=True)[0].ravel()
        np.testing.assert_allclose(found[name]["bias"], gradient.numpy(), rtol=1e-5, atol=1e-5 * float(loss.detach()))


@pytest.mark.parametrize("which", ["textbook", "residual"])
def test_the_trace_of_a_network_is_that_of_its_jacobian(maths, which):
    theirs, _, weights, schedule = made_network(which, 6)
    theirs = theirs.double()
    x = np.random.default_rng(7).normal(size=(N_CASES, 2))
    level = float(schedule.log_snr[20])
    found = maths(
        SETUP + "return model.withTrace(given.x, given.level);",
        which=which,
        rows=64,  # two passes, the second of them not full
        weights=weights,
        x=x.ravel().tolist(),
        level=level,
    )
    at = torch.from_numpy(x).requires_grad_()
    estimates = theirs(at, torch.tensor(level, dtype=torch.float64))
    slopes = [torch.autograd.grad(estimates[:, k].sum(), at, retain_graph=True)[0][:, k] for k in range(2)]
    np.testing.assert_allclose(found["trace"], (slopes[0] + slopes[1]).numpy(), rtol=1e-5, atol=1e-5)


def test_adam_is_that_of_torch(maths):
    rng = np.random.default_rng(8)
    start, gradients = rng.normal(size=20), rng.normal(size=(N_CASES, 20))
    found = maths(
        """const x = Float64Array.from(given.start), optimiser = new adam.Adam(20);
        for (const gradient of given.gradients) optimiser.step(x, gradient, 1e-2);
        return x;""",
        start=start.tolist(),
        gradients=gradients.tolist(),
    )
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimiser = torch.optim.Adam([parameter], lr=1e-2)
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient)
        optimiser.step()
    np.testing.assert_allclose(found, parameter.detach().numpy(), rtol=1e-10, atol=1e-10)


def test_the_mean_of_recent_weights(maths):
    # Of weights that equal the number of the step it is ((k + 1) n + 1) / (k + 2): a mean over about n / k steps.
    found = maths(
        """const mean = new adam.Average(2, 0.1);
        for (let i = 1; i <= given.n; i += 1) mean.add([i, 5]);
        return mean.weights;""",
        n=N_CASES,
    )
    np.testing.assert_allclose(found, [(11 * N_CASES + 1) / 12, 5.0], rtol=1e-5)


def test_steps_and_log_density_of_the_ode_are_those_of_the_library(maths):
    rng = np.random.default_rng(9)
    centres, x = rng.normal(size=(12, 2)), rng.normal(size=(N_CASES, 2))
    centres = (centres - centres.mean(axis=0)) / centres.std(axis=0)  # so that x_N is nearly N(0, I)
    found = maths(
        """const d = exact.mixtureDenoiser(given.centres, [0.02, 0.02]);
        const half = ode.dormandPrince(d, given.x, 0.7, given.middle);
        return { path: ode.dormandPrince(d, half, given.middle, 0.9), density: ode.logDensity(d, given.x, 1e-3, 20, 32),
                 fine: ode.logDensity(d, given.x, 1e-3, 80, 100), exact: d.logDensity(given.x, Infinity) };""",
        centres=centres.ravel().tolist(),
        x=x.ravel().tolist(),
        middle=math.sqrt((0.7 + 0.05) * (0.9 + 0.05)) - 0.05,  # even in ln(theta + 0.05)
    )
    theirs = GaussianMixtureDenoiser(
        torch.ones(12), torch.from_numpy(centres), 0.02 * torch.eye(2).double().expand(12, 2, 2)
    )
    rows = torch.from_numpy(x)
    path, _ = integrate_ode(theirs, rows, math.tan(0.7), math.tan(0.9), 2)
    np.testing.assert_allclose(found["path"], path.ravel().numpy(), rtol=1e-9, atol=1e-9)
    density = log_density(theirs, rows, level_min=1e-3, level_max=20.0, n_intervals=32).log_prob
    np.testing.assert_allclose(found["density"], density.numpy(), atol=1e-6)
    np.testing.assert_allclose(
        found["fine"], found["exact"], rtol=1e-3, atol=1e-2
    )  # the density of the data, on a fine grid


@pytest.mark.parametrize("variance", ["beta", "betaTilde"])
def test_every_term_of_the_bound_is_that_of_the_library(maths, variance):
    rng = np.random.default_rng(10)
    centres, x_0, eps = rng.normal(size=(12, 2)), rng.normal(size=(N_CASES, 2)), rng.normal(size=(1, 2))
    schedule = NoiseSchedule.linear(40, beta_max=0.2)
    found = maths(
        """const s = schedule.linear(40, 1e-3, 0.2), d = exact.mixtureDenoiser(given.centres, [0.02, 0.02]);
        const same = Float64Array.from({ length: given.x0.length }, (_, i) => given.eps[i % 2]);
        return bound.variationalBound(d.at, given.x0, s, s[given.variance], () => same, 0.01);""",
        centres=centres.ravel().tolist(),
        x0=x_0.ravel().tolist(),
        eps=eps.ravel().tolist(),
        variance=variance,
    )
    theirs = GaussianMixtureDenoiser(
        torch.ones(12), torch.from_numpy(centres), 0.02 * torch.eye(2).double().expand(12, 2, 2)
    )
    chosen = beta_variance if variance == "beta" else beta_tilde_variance
    terms = variational_bound(
        theirs, torch.from_numpy(x_0), schedule, chosen(schedule, decoder_variance=0.01), eps=torch.from_numpy(eps)
    )
    assert found["total"] == pytest.approx(terms.total, rel=1e-9)
    assert found["error"] == pytest.approx(terms.total_standard_error, rel=1e-9)
    assert found["prior"] + sum(term["value"] for term in found["terms"]) == pytest.approx(found["total"], rel=1e-12)
    for term in found["terms"][1:]:
        assert term["value"] == pytest.approx(float(terms.transitions[term["t"]]), rel=1e-9)


def test_the_sliced_distance_is_the_mean_of_the_distances_along_its_directions(maths):
    x, y = np.random.default_rng(14).normal(size=(2, N_CASES, 2)) * [[[1.0, 2.0]], [[3.0, 0.5]]]
    found = maths("return judge.slicedDistance(given.x, given.y);", x=x.ravel().tolist(), y=y.ravel().tolist())
    angles = np.pi * (np.arange(50) + 0.5) / 50
    along = [np.array([math.cos(angle), math.sin(angle)]) for angle in angles]
    assert found == pytest.approx(np.mean([wasserstein_distance(x @ u, y @ u) for u in along]), rel=1e-10)


def test_training_lowers_the_held_out_loss_and_goes_back_to_the_same_weights(maths):
    found = maths(
        """const rows = data.densityRows("two_moons", 2000, 0);
        const training = new trainer.Trainer(new models.Model("a", "", rows, models.PRESETS.course));
        const before = training.measure(), losses = () => {
            for (let i = 0; i < given.n; i += 1) training.step();
            return training.loss.map(([, loss]) => loss);
        };
        const first = losses(), after = training.measure();
        training.restart();
        return { before, after, first, second: losses() };""",
        n=N_CASES,
    )
    assert found["after"] < 0.75 * found["before"]
    assert found["first"] == found["second"]


def test_random_numbers_repeat_and_are_normal(maths):
    found = maths("return [[1, 100001], [1, 5], [2, 5]].map(([seed, n]) => random.stream(seed, 'a').normals(n));")
    draws = np.array(found[0])
    assert found[0][:5] == found[1] != found[2]
    # Each of these four is beyond 5 standard errors once in 1.7 million runs; the seed is fixed.
    n = len(draws)
    for moment, value, variance in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        assert abs((draws**moment).mean() - value) < 5.0 * math.sqrt(variance / n)


MODEL = """const points = Float64Array.from({ length: 4000 }, (_, i) => (i % 2 ? (i * 7) % 11 : i));  // sorted along x
    const model = new models.Model("a", "", data.tableRows("a.csv", ["x", "y"], points), models.PRESETS.course);
    model.network.start(random.stream(0, "weights"));"""


def test_held_out_rows_of_a_sorted_file_are_spread_over_it(maths):
    held, train = (np.array(z)[::2] for z in maths(MODEL + "return [model.held, model.train];"))
    assert len(held) == 200
    assert not set(held) & set(train)
    assert abs(held.mean()) < 5.0 / math.sqrt(200)  # standardised rows; beyond once in 1.7 million splits


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_a_particles_next_point_is_its_mean_and_its_noise(maths, sampler):
    steps = maths(
        MODEL + "return pictures.particleOf(model, given).steps;",
        row=3,
        seed=1,
        sampler=sampler,
        n_evaluations=9,
        eta=0.6,
    )
    assert len(steps) == 9
    for step in steps:
        noise = np.array(step["noise"] or [0.0, 0.0])
        np.testing.assert_allclose(np.array(step["mu_theta"]) + step["sigma_t"] * noise, step["x_next"], atol=1e-12)
        point = step["a"] * np.array(step["x_0_hat"]) + step["b"] * np.array(step["eps_theta"])
        np.testing.assert_allclose(point, step["x_t"], atol=1e-12)
