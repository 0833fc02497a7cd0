"""The exercises, and the laws that their solutions obey.

A law is a sentence, a hint, and cases: a generator that calls the student's function and yields what it returned beside
what the law demands there. Where it can, a law demands what the theory does (single steps add up to the jump, Bayes'
rule holds) and not the formula that the student should find. The first laws of an exercise are special cases that
locate a mistake; the last leave no other solution.

Cases are on a chain of ten steps with large betas that rise unevenly, so that t and t - 1 differ in every symbol. Their
points have n = 3 and d = 2, so that sums over rows and over dimensions differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BETA = np.array([0.0, 0.02, 0.05, 0.06, 0.1, 0.16, 0.2, 0.3, 0.32, 0.4, 0.5])
ALPHA_BAR = np.cumprod(1.0 - BETA)
N = len(BETA) - 1
BETA_TILDE = np.append(0.0, BETA[1:] * (1.0 - ALPHA_BAR[:-1]) / (1.0 - ALPHA_BAR[1:]))

X_0 = np.array([[1.0, -2.0], [0.5, 0.3], [-1.2, 0.8]])
EPS = np.array([[0.4, -1.1], [-0.7, 0.2], [1.5, 0.9]])
X_T = np.array([[0.6, 1.4], [-0.3, -0.8], [2.0, 0.1]])
Z = np.array([[1.2, 0.3], [-0.5, 0.6], [0.1, -1.4]])
ZERO = np.zeros_like(X_0)


class Case(NamedTuple):
    """Where a law was tried, what the function returned, and what the law demands."""

    words: str
    got: Any
    wanted: Any


class WrongResult(Exception):
    """A result that no law can be tried on; the message says why."""


class BrokenLaw(Exception):
    """A result that breaks a law; the message shows it beside what the law demands."""


@dataclass(frozen=True)
class Law:
    """A sentence that a solution makes true, a hint for where it does not, and the cases to try it on."""

    says: str
    hint: str
    cases: Callable[[Callable[..., Any]], Iterator[Case]]


@dataclass(frozen=True)
class Exercise:
    """A function to write: the number of its lesson, its arguments, and its laws."""

    lesson: int
    arguments: str
    laws: list[Law] = field(default_factory=list)


EXERCISES = {
    "q_sample": Exercise(1, "x_0, t, eps, alpha_bar"),
    "snr": Exercise(1, "t, alpha_bar"),
    "cosine_schedule": Exercise(1, "n_steps"),
    "q_posterior": Exercise(2, "x_t, x_0, t, beta, alpha_bar"),
    "eps_to_x0": Exercise(2, "x_t, eps, t, alpha_bar"),
    "mu_theta": Exercise(2, "x_t, eps, t, beta, alpha_bar"),
    "simple_loss": Exercise(2, "eps_theta, x_0, t, eps, alpha_bar"),
    "ancestral_step": Exercise(3, "x_t, eps, t, z, beta, alpha_bar, sigma_sq"),
    "ddim_step": Exercise(3, "x_t, eps, t, s, alpha_bar"),
    "guided_given": Exercise(3, "eps, gradient, scale, t, alpha_bar"),
    "kl_gaussians": Exercise(4, "mean_p, var_p, mean_q, var_q"),
    "prior_term": Exercise(4, "x_0, alpha_bar"),
}
"""The exercises by name, in the order of the course."""

Cases = Callable[[Callable[..., Any]], Iterator[Case]]


def law(exercise: str, says: str, hint: str) -> Callable[[Cases], Cases]:
    """Return a decorator that adds cases to the laws of an exercise."""

    def add(cases: Cases) -> Cases:
        EXERCISES[exercise].laws.append(Law(says, hint, cases))
        return cases

    return add


def signal_and_noise(t: int) -> tuple[float, float]:
    """Return a and b in x_t = a x_0 + b eps, on the chain of the cases."""
    return math.sqrt(ALPHA_BAR[t]), math.sqrt(1.0 - ALPHA_BAR[t])


def noisy(t: int) -> Array:
    """Return the points x_t of x_0 and eps, on the chain of the cases."""
    a, b = signal_and_noise(t)
    return a * X_0 + b * EPS


def at(t: int, *more: str) -> str:
    """Return in words where a case is."""
    return ", ".join([f"t = {t}", f"beta_t = {BETA[t]:.6g}", f"alpha_bar_t = {ALPHA_BAR[t]:.6g}", *more])


# ---------------------------------------------------------------------------------------------------- 1: noise forward


@law(
    "snr",
    "Where signal and noise have the same variance, the ratio is 1.",
    "The variance of the signal in x_t is alpha_bar_t, that of the noise is what is missing to 1.",
)
def _(snr: Callable[..., Any]) -> Iterator[Case]:
    yield Case("alpha_bar_t = 0.5", snr(2, np.array([1.0, 0.9, 0.5])), 1.0)


@law(
    "snr",
    "The ratio is that of the variances of signal and noise, for data of variance 1.",
    "x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps. Which variance belongs above the line?",
)
def _(snr: Callable[..., Any]) -> Iterator[Case]:
    yield Case("alpha_bar_t = 0.8", snr(1, np.array([1.0, 0.8, 0.7])), 4.0)
    for t in range(1, N + 1):
        signal, noise = signal_and_noise(t)
        yield Case(at(t), snr(t, ALPHA_BAR), signal**2 / noise**2)


@law(
    "q_sample",
    "At t = 0 nothing has happened: x_0 is returned, whatever eps is.",
    "alpha_bar_0 = 1. What is then left of the noise?",
)
def _(q_sample: Callable[..., Any]) -> Iterator[Case]:
    yield Case("t = 0", q_sample(X_0, 0, EPS, ALPHA_BAR), X_0)


@law(
    "q_sample",
    "The signal shrinks as in single steps: t of them, each by sqrt(1 - beta).",
    "alpha_bar_t is the product of all 1 - beta up to t. What is the product of their roots?",
)
def _(q_sample: Callable[..., Any]) -> Iterator[Case]:
    x_t = X_0
    for t in range(1, N + 1):
        x_t = math.sqrt(1.0 - BETA[t]) * x_t
        yield Case(at(t, "eps = 0"), q_sample(X_0, t, ZERO, ALPHA_BAR), x_t)


@law(
    "q_sample",
    "The noise has the variance that single steps add up to: v becomes (1 - beta) v + beta in each.",
    "Noise of variance v is sqrt(v) times standard normal noise. Each row and each coordinate has noise of its own.",
)
def _(q_sample: Callable[..., Any]) -> Iterator[Case]:
    variance = 0.0
    for t in range(1, N + 1):
        variance = (1.0 - BETA[t]) * variance + BETA[t]
        words = at(t, f"x_0 = 0, so that x_t is noise of variance {variance:.6g}")
        yield Case(words, q_sample(ZERO, t, EPS, ALPHA_BAR), math.sqrt(variance) * EPS)


@law(
    "q_sample",
    "x_t is the sum of both parts; t is one number for all rows, or a column (n, 1) with one for each row.",
    "alpha_bar[t] works for a column t too, and then has the shape (n, 1). Use only operations that keep it.",
)
def _(q_sample: Callable[..., Any]) -> Iterator[Case]:
    yield Case(at(4), q_sample(X_0, 4, EPS, ALPHA_BAR), noisy(4))
    t = np.array([[2], [7], [N]])
    a, b = np.sqrt(ALPHA_BAR[t]), np.sqrt(1.0 - ALPHA_BAR[t])
    yield Case("t = 2, 7 and 10 in three rows", q_sample(X_0, t, EPS, ALPHA_BAR), a * X_0 + b * EPS)


@law(
    "cosine_schedule",
    "There are n_steps + 1 numbers, and the first is 0: beta[t] is beta_t, and no step leads to t = 0.",
    "Put a 0 before beta_1, ..., beta_N.",
)
def _(cosine_schedule: Callable[..., Any]) -> Iterator[Case]:
    for n_steps in (4, 100):
        beta = _vector(cosine_schedule(n_steps), n_steps + 1)
        yield Case(f"n_steps = {n_steps}, beta[0]", beta[0], 0.0)


@law(
    "cosine_schedule",
    "No beta is above 0.999, and the last one is 0.999.",
    "f(N) = 0, so that beta_N would be 1, after which nothing is left of x_0: take the smaller of beta_t and 0.999.",
)
def _(cosine_schedule: Callable[..., Any]) -> Iterator[Case]:
    beta = _vector(cosine_schedule(100), 101)
    yield Case("n_steps = 100, the largest beta", beta.max(), 0.999)
    yield Case("n_steps = 100, beta[100]", beta[100], 0.999)


@law(
    "cosine_schedule",
    "The product of 1 - beta up to t is f(t) / f(0), with f(t) = cos((t / N + 0.008) / 1.008 * pi / 2)^2.",
    "beta_t = 1 - alpha_bar_t / alpha_bar_{t-1}. Angles are in radians, and the cosine is squared.",
)
def _(cosine_schedule: Callable[..., Any]) -> Iterator[Case]:
    for n_steps in (4, 100):
        f = np.cos((np.arange(n_steps + 1) / n_steps + 0.008) / 1.008 * math.pi / 2.0) ** 2
        beta = _vector(cosine_schedule(n_steps), n_steps + 1)
        alpha_bar = np.cumprod(1.0 - beta)
        for t in {1, n_steps // 2, n_steps - 1}:
            yield Case(f"n_steps = {n_steps}, the product up to t = {t}", alpha_bar[t], f[t] / f[0])
        yield Case(f"n_steps = {n_steps}, beta", beta, np.append(0.0, np.minimum(1.0 - f[1:] / f[:-1], 0.999)))


# --------------------------------------------------------------------------------------------------------- 2: backward


@law(
    "q_posterior",
    "At t = 1 nothing is uncertain, as x_{t-1} is x_0: the variance is 0.",
    "It is not beta_t, the variance of a forward step: who knows x_0 too is more certain. alpha_bar_0 = 1.",
)
def _(q_posterior: Callable[..., Any]) -> Iterator[Case]:
    yield Case("t = 1, the variance", _pair(q_posterior(X_T, X_0, 1, BETA, ALPHA_BAR))[1], 0.0)


@law(
    "q_posterior",
    "At t = 1 the mean is x_0.",
    "The mean has one term in x_0 and one in x_t. Which of their factors must be 1 at t = 1, and which 0?",
)
def _(q_posterior: Callable[..., Any]) -> Iterator[Case]:
    yield Case("t = 1, the mean", _pair(q_posterior(X_T, X_0, 1, BETA, ALPHA_BAR))[0], X_0)


@law(
    "q_posterior",
    "Precisions add: one over the variance is alpha_t / beta_t, from x_t, plus 1 / (1 - alpha_bar_{t-1}), from x_0.",
    "Return the variance, not its root. Which symbols belong to t, and which to t - 1?",
)
def _(q_posterior: Callable[..., Any]) -> Iterator[Case]:
    for t in range(2, N + 1):
        _, variance = _pair(q_posterior(X_T, X_0, t, BETA, ALPHA_BAR))
        precision = (1.0 - BETA[t]) / BETA[t] + 1.0 / (1.0 - ALPHA_BAR[t - 1])
        yield Case(at(t, "the variance"), variance, 1.0 / precision)


@law(
    "q_posterior",
    "A point without noise goes back on its own path: for x_t = sqrt(alpha_bar_t) x_0 the mean is "
    "sqrt(alpha_bar_{t-1}) x_0.",
    "The mean has one term in x_0 and one in x_t. Which factor belongs to which, and does each have its root?",
)
def _(q_posterior: Callable[..., Any]) -> Iterator[Case]:
    for t in range(2, N + 1):
        (a_s, _), (a_t, _) = signal_and_noise(t - 1), signal_and_noise(t)
        mean, _ = _pair(q_posterior(a_t * X_0, X_0, t, BETA, ALPHA_BAR))
        yield Case(at(t, f"alpha_bar_(t-1) = {ALPHA_BAR[t - 1]:.6g}", "the mean"), mean, a_s * X_0)


@law(
    "q_posterior",
    "Bayes' rule: q(x_{t-1} | x_t, x_0) q(x_t | x_0) = q(x_t | x_{t-1}) q(x_{t-1} | x_0), for every x_{t-1}.",
    "The mean weighs x_t and x_0 by their precisions: by alpha_t / beta_t what x_t says of x_{t-1}, which is "
    "x_t / sqrt(alpha_t), and by 1 / (1 - alpha_bar_{t-1}) what x_0 says of it.",
)
def _(q_posterior: Callable[..., Any]) -> Iterator[Case]:
    for t in range(2, N + 1):
        (a_s, b_s), (a_t, b_t) = signal_and_noise(t - 1), signal_and_noise(t)
        mean, variance = _pair(q_posterior(X_T, X_0, t, BETA, ALPHA_BAR))
        mean = np.asarray(mean, dtype=float)
        if mean.shape != X_T.shape:
            yield Case(at(t, "the mean"), mean, X_T)
        right = _log_normal(X_T, math.sqrt(1.0 - BETA[t]) * Z, BETA[t]) + _log_normal(Z, a_s * X_0, b_s**2)
        left = _log_normal(Z, mean, float(variance)) + _log_normal(X_T, a_t * X_0, b_t**2)
        yield Case(at(t, "the logarithm of the left side"), left, right)


@law(
    "eps_to_x0",
    "Where there is no noise, at t = 0, it is x_t.",
    "alpha_bar_0 = 1.",
)
def _(eps_to_x0: Callable[..., Any]) -> Iterator[Case]:
    yield Case("t = 0", eps_to_x0(X_T, EPS, 0, ALPHA_BAR), X_T)


@law(
    "eps_to_x0",
    "It undoes q_sample: of x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps it returns x_0.",
    "Solve that equation for x_0.",
)
def _(eps_to_x0: Callable[..., Any]) -> Iterator[Case]:
    for t in range(1, N + 1):
        yield Case(at(t), eps_to_x0(noisy(t), EPS, t, ALPHA_BAR), X_0)


@law(
    "mu_theta",
    "Where the network finds no noise (eps = 0), the forward step's shrinking is undone: x_t / sqrt(1 - beta_t).",
    "alpha_t = 1 - beta_t belongs to this one step; alpha_bar_t belongs to all steps up to t.",
)
def _(mu_theta: Callable[..., Any]) -> Iterator[Case]:
    for t in range(1, N + 1):
        yield Case(at(t, "eps = 0"), mu_theta(X_T, ZERO, t, BETA, ALPHA_BAR), X_T / math.sqrt(1.0 - BETA[t]))


@law(
    "mu_theta",
    "At t = 1, with the true noise, it is x_0.",
    "The noise is taken away. 1 - alpha_bar_1 = beta_1: what must the factor of eps be at t = 1?",
)
def _(mu_theta: Callable[..., Any]) -> Iterator[Case]:
    yield Case(at(1), mu_theta(noisy(1), EPS, 1, BETA, ALPHA_BAR), X_0)


@law(
    "mu_theta",
    "With the true noise it is the mean of q(x_{t-1} | x_t, x_0).",
    "Put x_0 = (x_t - sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_bar_t) into that mean, and collect x_t and eps.",
)
def _(mu_theta: Callable[..., Any]) -> Iterator[Case]:
    for t in range(1, N + 1):
        x_t = noisy(t)
        yield Case(at(t), mu_theta(x_t, EPS, t, BETA, ALPHA_BAR), posterior_mean(x_t, X_0, t))


@law(
    "simple_loss",
    "A network that finds the noise exactly costs 0.",
    "Compare the network's answer for x_t with eps.",
)
def _(simple_loss: Callable[..., Any]) -> Iterator[Case]:
    _, b = signal_and_noise(4)
    t = np.full((3, 1), 4)
    words = "x_0 = 0, so that eps is x_t / sqrt(1 - alpha_bar_t), which the network returns"
    yield Case(words, simple_loss(lambda x_t, _: x_t / b, ZERO, t, EPS, ALPHA_BAR), 0.0)


@law(
    "simple_loss",
    "A network that always answers 0 costs |eps|^2 on average: the sum over the coordinates, the mean over the rows.",
    "|eps|^2 is a squared length. Sum over the last axis first, then average over the rows.",
)
def _(simple_loss: Callable[..., Any]) -> Iterator[Case]:
    t = np.array([[2], [7], [N]])
    wanted = (EPS**2).sum(1).mean()
    yield Case("eps_theta = 0", simple_loss(lambda x_t, _: 0.0 * x_t, X_0, t, EPS, ALPHA_BAR), wanted)


@law(
    "simple_loss",
    "The network sees x_t and t: noisy points, each at its own t.",
    "x_t is what q_sample returns for x_0, t and eps. Pass t itself.",
)
def _(simple_loss: Callable[..., Any]) -> Iterator[Case]:
    t = np.array([[2], [7], [N]])
    x_t = np.sqrt(ALPHA_BAR[t]) * X_0 + np.sqrt(1.0 - ALPHA_BAR[t]) * EPS
    for words, of_t in (("eps_theta(x_t, t) = 0.5 x_t", 0.0), ("eps_theta(x_t, t) = 0.5 x_t + 0.1 t", 0.1)):

        def network(x_t: Any, t: Any, of_t: float = of_t) -> Any:
            return 0.5 * x_t + of_t * t

        wanted = ((network(x_t, t) - EPS) ** 2).sum(1).mean()
        yield Case(words, simple_loss(network, X_0, t, EPS, ALPHA_BAR), wanted)


# --------------------------------------------------------------------------------------------------------- 3: sampling


@law(
    "ancestral_step",
    "Its mean is mu_theta: what is returned for z = 0.",
    "Without z the step is your mu_theta of lesson 2.",
)
def _(ancestral_step: Callable[..., Any]) -> Iterator[Case]:
    for t in range(1, N + 1):
        x_t = noisy(t)
        step = ancestral_step(x_t, EPS, t, ZERO, BETA, ALPHA_BAR, _sigma_sq())
        yield Case(at(t, "z = 0"), step, posterior_mean(x_t, X_0, t))


@law(
    "ancestral_step",
    "The step that reaches t = 0 adds no noise.",
    "That step is the one from t = 1. Its mean is the best guess of x_0, and noise would only blur it.",
)
def _(ancestral_step: Callable[..., Any]) -> Iterator[Case]:
    yield Case(at(1), ancestral_step(noisy(1), EPS, 1, Z, BETA, ALPHA_BAR, _sigma_sq()), X_0)


@law(
    "ancestral_step",
    "All other steps add noise of variance sigma_sq[t]: sigma_t z.",
    "sigma_sq[t] is a variance, and z has variance 1. Which entry belongs to the step from t?",
)
def _(ancestral_step: Callable[..., Any]) -> Iterator[Case]:
    for t in range(2, N + 1):
        x_t = noisy(t)
        step = ancestral_step(x_t, EPS, t, Z, BETA, ALPHA_BAR, _sigma_sq())
        words = at(t, f"sigma_sq[t] = {_sigma_sq()[t]:.6g}")
        yield Case(words, step, posterior_mean(x_t, X_0, t) + math.sqrt(_sigma_sq()[t]) * Z)


@law(
    "ddim_step",
    "A step to s = 0 ends at the estimate of x_0.",
    "First find x_0_hat from x_t and eps (your eps_to_x0 of lesson 2). At s = 0 no noise is left.",
)
def _(ddim_step: Callable[..., Any]) -> Iterator[Case]:
    for t in (1, 4, N):
        a, b = signal_and_noise(t)
        yield Case(at(t, "s = 0"), ddim_step(X_T, EPS, t, 0, ALPHA_BAR), (X_T - b * EPS) / a)


@law(
    "ddim_step",
    "x_0_hat and eps stay the same, and only their weights change from those of t to those of s.",
    "x_s = (a_s) x_0_hat + (b_s) eps: which roots are a_s and b_s? There may be many steps between s and t.",
)
def _(ddim_step: Callable[..., Any]) -> Iterator[Case]:
    for t, s in ((2, 1), (5, 4), (N, 3), (N, 7), (6, 1)):
        words = at(t, f"s = {s}", f"alpha_bar_s = {ALPHA_BAR[s]:.6g}")
        yield Case(words, ddim_step(noisy(t), EPS, t, s, ALPHA_BAR), noisy(s))


@law(
    "guided_given",
    "Scale 0 switches the guidance off.",
    "scale multiplies the gradient, and nothing else.",
)
def _(guided_given: Callable[..., Any]) -> Iterator[Case]:
    yield Case(at(4, "scale = 0"), guided_given(EPS, Z, 0.0, 4, ALPHA_BAR), EPS)


@law(
    "guided_given",
    "Scale 1 is Bayes' rule: for Gaussian data and y = x_0 + noise, it gives E[eps | x_t, y].",
    "The score of x_t is -eps / sqrt(1 - alpha_bar_t), and the gradient is added to the score. Solve for the new eps.",
)
def _(guided_given: Callable[..., Any]) -> Iterator[Case]:
    variance, error, y = 0.7, 0.3, X_0  # of the data; of y given x_0; what is given
    for t in range(1, N + 1):
        a, b = signal_and_noise(t)
        spread = a**2 * variance + b**2  # of x_t
        x_0_hat, left = a * variance * X_T / spread, variance * b**2 / spread  # mean and variance of x_0 given x_t
        gradient = (y - x_0_hat) / (left + error) * (a * variance / spread)  # of ln p(y | x_t) by x_t
        given = x_0_hat + left / (left + error) * (y - x_0_hat)  # the mean of x_0 given x_t and y
        eps = (X_T - a * x_0_hat) / b
        yield Case(at(t, "scale = 1"), guided_given(eps, gradient, 1.0, t, ALPHA_BAR), (X_T - a * given) / b)


@law(
    "guided_given",
    "Twice the scale changes eps by twice as much.",
    "scale = 0 is off, 1 is Bayes' rule, and more pulls harder. Some papers count from elsewhere.",
)
def _(guided_given: Callable[..., Any]) -> Iterator[Case]:
    change = -signal_and_noise(4)[1] * Z
    for scale in (0.5, 2.0, 3.0):
        yield Case(at(4, f"scale = {scale:g}"), guided_given(EPS, Z, scale, 4, ALPHA_BAR), EPS + scale * change)


# ------------------------------------------------------------------------------------------------- 4: how good is it


@law(
    "kl_gaussians",
    "There is one number for each row, and it is 0 where both Gaussians are the same.",
    "Sum over the last axis. For equal variances and means, which three terms have to cancel?",
)
def _(kl_gaussians: Callable[..., Any]) -> Iterator[Case]:
    for variance in (1.0, 0.3):
        words = f"both have the variance {variance:g}"
        yield Case(words, kl_gaussians(X_0, variance, X_0, variance), np.zeros(3))


@law(
    "kl_gaussians",
    "For equal variances v it is the squared distance of the means over 2 v.",
    "Sum over the coordinates, without averaging. The distance is measured in units of the second Gaussian.",
)
def _(kl_gaussians: Callable[..., Any]) -> Iterator[Case]:
    for variance in (1.0, 0.3):
        wanted = ((X_0 - X_T) ** 2).sum(1) / (2.0 * variance)
        yield Case(f"both variances are {variance:g}", kl_gaussians(X_0, variance, X_T, variance), wanted)


@law(
    "kl_gaussians",
    "It is the mean of ln p(x) - ln q(x) over x drawn from p, the first Gaussian.",
    "KL(p || q) is not KL(q || p): the second variance stands below the line. The logarithm is half that of a ratio of "
    "variances, for each of the d coordinates.",
)
def _(kl_gaussians: Callable[..., Any]) -> Iterator[Case]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)  # exact means of polynomials of a standard normal number
    weights = weights / weights.sum()
    for var_p, var_q in ((1.0, 2.0), (0.2, 1.0), (3.0, 0.5)):
        x = X_0[..., None] + math.sqrt(var_p) * nodes  # (n, d, nodes)
        log_p = -0.5 * (nodes**2 + math.log(2.0 * math.pi * var_p))
        log_q = -0.5 * ((x - X_T[..., None]) ** 2 / var_q + math.log(2.0 * math.pi * var_q))
        wanted = ((log_p - log_q) @ weights).sum(1)
        words = f"var_p = {var_p:g}, var_q = {var_q:g}"
        yield Case(words, kl_gaussians(X_0, var_p, X_T, var_q), wanted)


@law(
    "prior_term",
    "There is one number for each row, and it is 0 where the chain ends in pure noise.",
    "For alpha_bar_N = 0, q(x_N | x_0) is N(0, I), whatever x_0 is. alpha_bar_N is the last entry of alpha_bar.",
)
def _(prior_term: Callable[..., Any]) -> Iterator[Case]:
    yield Case("alpha_bar = 1, 0.5, 0.000000000001", prior_term(X_0, np.array([1.0, 0.5, 1e-12])), np.zeros(3))


@law(
    "prior_term",
    "For x_0 = 0 it is what a variance of 1 - alpha_bar_N in place of 1 costs.",
    "KL(N(0, v) || N(0, 1)) = (v - 1 - ln v) / 2 for each coordinate, with v = 1 - alpha_bar_N.",
)
def _(prior_term: Callable[..., Any]) -> Iterator[Case]:
    v = 0.4
    wanted = np.full(3, X_0.shape[1] * (v - 1.0 - math.log(v)) / 2.0)
    yield Case("alpha_bar_N = 0.6, d = 2, x_0 = 0", prior_term(ZERO, np.array([1.0, 0.8, 0.6])), wanted)


@law(
    "prior_term",
    "It is KL(q(x_N | x_0) || N(0, I)) for each row: it grows by |E[x_N | x_0]|^2 / 2.",
    "The mean of q(x_N | x_0) is sqrt(alpha_bar_N) x_0; it is squared in the divergence.",
)
def _(prior_term: Callable[..., Any]) -> Iterator[Case]:
    for alpha_bar in (ALPHA_BAR, np.array([1.0, 0.8, 0.6])):
        left = float(alpha_bar[-1])
        at_zero = X_0.shape[1] * (-left - math.log1p(-left)) / 2.0
        wanted = at_zero + left * (X_0**2).sum(1) / 2.0
        yield Case(f"alpha_bar_N = {left:.6g}", prior_term(X_0, alpha_bar), wanted)


# ------------------------------------------------------------------------------------------------------------------


def posterior_mean(x_t: Array, x_0: Array, t: int) -> Array:
    """Return the mean of q(x_{t-1} | x_t, x_0) on the chain of the cases. Source: Ho et al. 2020, Eq. 7."""
    (a_s, b_s), (_, b_t) = signal_and_noise(t - 1), signal_and_noise(t)
    return np.asarray((a_s * BETA[t] * x_0 + math.sqrt(1.0 - BETA[t]) * b_s**2 * x_t) / b_t**2)


def _sigma_sq() -> Array:
    """Return reverse variances that are neither beta nor beta_tilde, so that neither can stand for them."""
    return np.asarray(0.5 * (BETA + BETA_TILDE))


def _pair(result: Any) -> tuple[Any, float]:
    """Return a mean and a variance. Raises WrongResult where a function returned something else."""
    if not isinstance(result, list | tuple) or len(result) != 2:
        raise WrongResult("Your function should return two things, the mean and the variance: `return mean, variance`.")
    mean, variance = result
    if np.size(variance) != 1:
        raise WrongResult(
            f"The variance should be a single number, as it depends neither on the point nor on the coordinate, but "
            f"yours has the shape {tuple(np.shape(variance))}."
        )
    return mean, float(np.asarray(variance).item())


def _vector(result: Any, length: int) -> Array:
    """Return a result as an array. Raises WrongResult where it does not have this length."""
    vector = np.asarray(result, dtype=float)
    if vector.shape != (length,):
        raise WrongResult(f"Your function should return {length} numbers, but yours has the shape {vector.shape}.")
    return vector


def _log_normal(x: Array, mean: Array, variance: float) -> Array:
    """Return ln N(x; mean, variance I): (n,), nats. It is NaN for a variance that is not above 0."""
    if not variance > 0:
        return np.full(len(x), math.nan)
    squares = ((x - mean) ** 2).sum(1)
    return np.asarray(-0.5 * (squares / variance + x.shape[1] * math.log(2.0 * math.pi * variance)))
