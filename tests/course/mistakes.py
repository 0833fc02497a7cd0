"""Mistakes that students make: each a wrong solution of an exercise."""

# ruff: noqa: ARG005 (a mistake often is an argument left out)

import torch

from tests.course.solutions import Torch

sqrt = torch.sqrt


def noisy(x_0, t, eps, alpha_bar):
    return Torch.q_sample(x_0, t, eps, alpha_bar)


def loss(reduce, found=noisy):
    """A simple loss with another last line, or another x_t."""

    def simple_loss(eps_theta, x_0, t, eps, alpha_bar):
        return reduce(eps_theta(found(x_0, t, eps, alpha_bar), t) - eps)

    return simple_loss


def mean_of(weight_of_x_0, weight_of_x_t):
    """A posterior with the right variance and other weights of the mean."""

    def q_posterior(x_t, x_0, t, beta, alpha_bar):
        mean = weight_of_x_0(t, beta, alpha_bar) * x_0 + weight_of_x_t(t, beta, alpha_bar) * x_t
        return mean, Torch.q_posterior(x_t, x_0, t, beta, alpha_bar)[1]

    return q_posterior


def variance_of(variance):
    """A posterior with the right mean and another variance."""

    def q_posterior(x_t, x_0, t, beta, alpha_bar):
        right = Torch.q_posterior(x_t, x_0, t, beta, alpha_bar)
        return right[0], variance(t, beta, alpha_bar)

    return q_posterior


def of_x_0(t, beta, alpha_bar):
    return sqrt(alpha_bar[t - 1]) * beta[t] / (1 - alpha_bar[t])


def of_x_t(t, beta, alpha_bar):
    return sqrt(1 - beta[t]) * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])


def step(noise):
    """An ancestral step with the right mean and other noise."""

    def ancestral_step(x_t, eps, t, z, beta, alpha_bar, sigma_sq):
        return Torch.mu_theta(x_t, eps, t, beta, alpha_bar) + noise(t, z, beta, sigma_sq)

    return ancestral_step


def cosine(f, *, steps=None, most=0.999):
    """A cosine schedule with another f, another grid, or another clip."""

    def cosine_schedule(n_steps):
        grid = (torch.arange(n_steps + 1) / n_steps) if steps is None else steps(n_steps)
        values = f(grid)
        return torch.cat([torch.zeros(1), torch.clamp(1 - values[1:] / values[:-1], max=most)])

    return cosine_schedule


def squared_cosine(u):
    return torch.cos((u + 0.008) / 1.008 * torch.pi / 2) ** 2


def forgets_return(*_):
    return None


def divergence(of):
    """A divergence of Gaussians by another formula of the ratio of variances and the squared distance."""

    def kl_gaussians(mean_p, var_p, mean_q, var_q):
        return of(mean_p - mean_q, torch.tensor(var_p), torch.tensor(var_q))

    return kl_gaussians


def prior(of):
    """A prior term by another formula of the points and alpha_bar_N."""
    return lambda x_0, alpha_bar: of(x_0, alpha_bar[-1])


def changes_its_argument(x_t, eps, t, alpha_bar):
    x_t -= sqrt(1 - alpha_bar[t]) * eps
    x_t /= sqrt(alpha_bar[t])
    return x_t


MISTAKES = {
    "snr": {
        "upside down": lambda t, ab: (1 - ab[t]) / ab[t],
        "of standard deviations": lambda t, ab: sqrt(ab[t] / (1 - ab[t])),
        "squared": lambda t, ab: (ab[t] / (1 - ab[t])) ** 2,
        "a root below only": lambda t, ab: ab[t] / sqrt(1 - ab[t]),
        "t off by one": lambda t, ab: ab[t - 1] / (1 - ab[t - 1] + 1e-9),
        "its logarithm": lambda t, ab: torch.log(ab[t] / (1 - ab[t])),
        "the signal's share": lambda t, ab: ab[t],
        "for all t at once": lambda t, ab: ab / (1 - ab + 1e-9),
    },
    "q_sample": {
        "no roots": lambda x, t, e, ab: ab[t] * x + (1 - ab[t]) * e,
        "alpha_bar without its root": lambda x, t, e, ab: ab[t] * x + sqrt(1 - ab[t]) * e,
        "variance for standard deviation": lambda x, t, e, ab: sqrt(ab[t]) * x + (1 - ab[t]) * e,
        "1 - root": lambda x, t, e, ab: sqrt(ab[t]) * x + (1 - sqrt(ab[t])) * e,
        "t off by one": lambda x, t, e, ab: sqrt(ab[t - 1]) * x + sqrt(1 - ab[t - 1]) * e,
        "minus the noise": lambda x, t, e, ab: sqrt(ab[t]) * x - sqrt(1 - ab[t]) * e,
        "roots swapped": lambda x, t, e, ab: sqrt(1 - ab[t]) * x + sqrt(ab[t]) * e,
        "one step alone": lambda x, t, e, ab: sqrt(ab[t] / ab[t - 1]) * x + sqrt(1 - ab[t] / ab[t - 1]) * e,
        "the same noise in all rows": lambda x, t, e, ab: sqrt(ab[t]) * x + sqrt(1 - ab[t]) * e[:1],
        "noise of its own": lambda x, t, e, ab: sqrt(ab[t]) * x + sqrt(1 - ab[t]) * torch.randn_like(e),
        "the noise unscaled": lambda x, t, e, ab: sqrt(ab[t]) * x + e,
        "the signal unscaled": lambda x, t, e, ab: x + sqrt(1 - ab[t]) * e,
        "no column of t": lambda x, t, e, ab: noisy(x, int(torch.as_tensor(t).max()), e, ab),
        "t as a row": lambda x, t, e, ab: noisy(x, torch.as_tensor(t).flatten(), e, ab),
        "one number": lambda x, t, e, ab: noisy(x, t, e, ab).mean(),
        "nothing": forgets_return,
    },
    "cosine_schedule": {
        "cosine instead of its square": cosine(lambda u: torch.cos((u + 0.008) / 1.008 * torch.pi / 2)),
        "no offset": cosine(lambda u: torch.cos(u * torch.pi / 2) ** 2),
        "offset not divided out": cosine(lambda u: torch.cos((u + 0.008) * torch.pi / 2) ** 2),
        "pi for pi / 2": cosine(lambda u: torch.cos((u + 0.008) / 1.008 * torch.pi) ** 2),
        "not clipped": cosine(squared_cosine, most=1.0),
        "a lower clip": cosine(squared_cosine, most=0.99),
        "sine": cosine(lambda u: torch.sin((u + 0.008) / 1.008 * torch.pi / 2) ** 2),
        "t off by one": cosine(squared_cosine, steps=lambda n: torch.arange(1, n + 2) / (n + 1)),
        "the grid of n_steps points": cosine(squared_cosine, steps=lambda n: torch.linspace(0, 1, n)),
        "alpha for beta": lambda n: 1 - Torch.cosine_schedule(n),
        "alpha_bar for beta": lambda n: torch.cumprod(1 - Torch.cosine_schedule(n), 0),
        "no beta_0": lambda n: Torch.cosine_schedule(n)[1:],
        "a cosine from beta_1 to beta_N": lambda n: torch.cat(
            [torch.zeros(1), 0.999 * (1 - torch.cos(torch.linspace(0, torch.pi / 2, n)))]
        ),
    },
    "q_posterior": {
        "beta for beta_tilde": variance_of(lambda t, b, ab: b[t]),
        "ratio of variances upside down": variance_of(lambda t, b, ab: b[t] * (1 - ab[t]) / (1 - ab[t - 1] + 1e-9)),
        "standard deviation for variance": variance_of(lambda t, b, ab: sqrt(b[t] * (1 - ab[t - 1]) / (1 - ab[t]))),
        "variance with t off by one": variance_of(lambda t, b, ab: b[t - 1] * (1 - ab[t - 1]) / (1 - ab[t])),
        "variance with t + 1": variance_of(lambda t, b, ab: b[t] * (1 - ab[t - 1]) / (1 - ab[min(t + 1, len(ab) - 1)])),
        "variance without alpha_bar": variance_of(lambda t, b, ab: b[t] * (1 - ab[t - 1])),
        "swapped mean coefficients": mean_of(of_x_t, of_x_0),
        "a variance for each coordinate": lambda *given: (
            Torch.q_posterior(*given)[0],
            torch.ones(2) * Torch.q_posterior(*given)[1],
        ),
        "alpha_t without its root": mean_of(of_x_0, lambda t, b, ab: (1 - b[t]) * (1 - ab[t - 1]) / (1 - ab[t])),
        "alpha_bar without its root": mean_of(lambda t, b, ab: ab[t - 1] * b[t] / (1 - ab[t]), of_x_t),
        "alpha_bar_t for alpha_bar_{t-1}": mean_of(lambda t, b, ab: sqrt(ab[t]) * b[t] / (1 - ab[t]), of_x_t),
        "alpha_bar for alpha": mean_of(of_x_0, lambda t, b, ab: sqrt(ab[t]) * (1 - ab[t - 1]) / (1 - ab[t])),
        "1 - alpha_bar_t not divided out": mean_of(
            lambda t, b, ab: sqrt(ab[t - 1]) * b[t], lambda t, b, ab: sqrt(1 - b[t]) * (1 - ab[t - 1])
        ),
        "minus x_0": mean_of(lambda t, b, ab: -of_x_0(t, b, ab), of_x_t),
        "root of beta in the mean": mean_of(lambda t, b, ab: sqrt(ab[t - 1] * b[t]) / (1 - ab[t]), of_x_t),
        "the variance alone": lambda *given: Torch.q_posterior(*given)[1],
        "variance before mean": lambda *given: Torch.q_posterior(*given)[::-1],
    },
    "eps_to_x0": {
        "plus the noise": lambda x, e, t, ab: (x + sqrt(1 - ab[t]) * e) / sqrt(ab[t]),
        "alpha_bar without its root": lambda x, e, t, ab: (x - sqrt(1 - ab[t]) * e) / ab[t],
        "1 - alpha_bar without its root": lambda x, e, t, ab: (x - (1 - ab[t]) * e) / sqrt(ab[t]),
        "times alpha_bar": lambda x, e, t, ab: (x - sqrt(1 - ab[t]) * e) * sqrt(ab[t]),
        "x_t alone divided": lambda x, e, t, ab: x / sqrt(ab[t]) - sqrt(1 - ab[t]) * e,
        "not divided": lambda x, e, t, ab: x - sqrt(1 - ab[t]) * e,
        "t off by one": lambda x, e, t, ab: (x - sqrt(1 - ab[t - 1]) * e) / sqrt(ab[t - 1]),
        "in place": changes_its_argument,
    },
    "mu_theta": {
        "1 - alpha_bar without its root": lambda x, e, t, b, ab: (x - b[t] / (1 - ab[t]) * e) / sqrt(1 - b[t]),
        "alpha without its root": lambda x, e, t, b, ab: (x - b[t] / sqrt(1 - ab[t]) * e) / (1 - b[t]),
        "alpha_bar for alpha": lambda x, e, t, b, ab: (x - b[t] / sqrt(1 - ab[t]) * e) / sqrt(ab[t]),
        "plus the noise": lambda x, e, t, b, ab: (x + b[t] / sqrt(1 - ab[t]) * e) / sqrt(1 - b[t]),
        "root of beta": lambda x, e, t, b, ab: (x - sqrt(b[t]) / sqrt(1 - ab[t]) * e) / sqrt(1 - b[t]),
        "alpha for beta": lambda x, e, t, b, ab: (x - (1 - b[t]) / sqrt(1 - ab[t]) * e) / sqrt(1 - b[t]),
        "alpha_bar_{t-1}": lambda x, e, t, b, ab: (x - b[t] / sqrt(1 - ab[t - 1] + 1e-9) * e) / sqrt(1 - b[t]),
        "beta_{t-1}": lambda x, e, t, b, ab: (x - b[t - 1] / sqrt(1 - ab[t]) * e) / sqrt(1 - b[t - 1]),
        "x_0_hat": lambda x, e, t, b, ab: Torch.eps_to_x0(x, e, t, ab),
        "the noise not divided": lambda x, e, t, b, ab: x / sqrt(1 - b[t]) - b[t] / sqrt(1 - ab[t]) * e,
        "times the root of alpha": lambda x, e, t, b, ab: (x - b[t] / sqrt(1 - ab[t]) * e) * sqrt(1 - b[t]),
    },
    "simple_loss": {
        "summed in place of mean": loss(lambda error: (error**2).sum()),
        "mean over the coordinates too": loss(lambda error: (error**2).mean()),
        "one number for each row": loss(lambda error: (error**2).sum(1)),
        "length, not squared": loss(lambda error: (error**2).sum(1).sqrt().mean()),
        "absolute values": loss(lambda error: error.abs().sum(1).mean()),
        "sum over rows, mean over coordinates": loss(lambda error: (error**2).sum(0).mean()),
        "errors averaged before they are squared": loss(lambda error: (error.mean(0) ** 2).sum()),
        "halved": loss(lambda error: (error**2).sum(1).mean() / 2),
        "the network sees x_0": loss(lambda error: (error**2).sum(1).mean(), lambda x, t, e, ab: x),
        "x_t without roots": loss(
            lambda error: (error**2).sum(1).mean(), lambda x, t, e, ab: ab[t] * x + (1 - ab[t]) * e
        ),
        "x_t of t - 1": loss(lambda error: (error**2).sum(1).mean(), lambda x, t, e, ab: noisy(x, t - 1, e, ab)),
        "x_t of the first row's t": loss(
            lambda error: (error**2).sum(1).mean(), lambda x, t, e, ab: noisy(x, t[0], e, ab)
        ),
        "x_0 for eps": lambda f, x, t, e, ab: ((f(noisy(x, t, e, ab), t) - x) ** 2).sum(1).mean(),
        "t - 1 for the network": lambda f, x, t, e, ab: ((f(noisy(x, t, e, ab), t - 1) - e) ** 2).sum(1).mean(),
        "plus the noise": lambda f, x, t, e, ab: ((f(noisy(x, t, e, ab), t) + e) ** 2).sum(1).mean(),
    },
    "ancestral_step": {
        "variance for standard deviation": step(lambda t, z, b, v: 0 * z if t == 1 else v[t] * z),
        "noise in the last step": step(lambda t, z, b, v: sqrt(v[t]) * z),
        "no noise": step(lambda t, z, b, v: 0 * z),
        "no noise at t = 2 either": step(lambda t, z, b, v: sqrt(v[t]) * z * (t > 2)),
        "no noise at t = N": step(lambda t, z, b, v: sqrt(v[t]) * z * (t > 1) * (t < len(v) - 1)),
        "noise only in the last step": step(lambda t, z, b, v: sqrt(v[t]) * z * (t == 1)),
        "beta for sigma_sq": step(lambda t, z, b, v: sqrt(b[t]) * z * (t > 1)),
        "sigma with t off by one": step(lambda t, z, b, v: sqrt(v[t - 1]) * z),
        "fresh noise of its own": step(lambda t, z, b, v: sqrt(v[t]) * torch.randn_like(z) * (t > 1)),
        "one number for all": step(lambda t, z, b, v: sqrt(v[t]) * z.mean() * (t > 1)),
        "minus the noise": step(lambda t, z, b, v: -sqrt(v[t]) * z * (t > 1)),
        "the estimate of x_0 for the mean": lambda x, e, t, z, b, ab, v: (
            Torch.eps_to_x0(x, e, t, ab) + sqrt(v[t]) * z * (t > 1)
        ),
        "the mean's 1 - alpha_bar without root": lambda x, e, t, z, b, ab, v: (
            (x - b[t] / (1 - ab[t]) * e) / sqrt(1 - b[t]) + sqrt(v[t]) * z * (t > 1)
        ),
    },
    "ddim_step": {
        "noise of t": lambda x, e, t, s, ab: sqrt(ab[s]) * Torch.eps_to_x0(x, e, t, ab) + sqrt(1 - ab[t]) * e,
        "signal of t": lambda x, e, t, s, ab: sqrt(ab[t]) * Torch.eps_to_x0(x, e, t, ab) + sqrt(1 - ab[s]) * e,
        "no roots": lambda x, e, t, s, ab: ab[s] * Torch.eps_to_x0(x, e, t, ab) + (1 - ab[s]) * e,
        "the noise without root": lambda x, e, t, s, ab: sqrt(ab[s]) * Torch.eps_to_x0(x, e, t, ab) + (1 - ab[s]) * e,
        "no noise": lambda x, e, t, s, ab: sqrt(ab[s]) * Torch.eps_to_x0(x, e, t, ab),
        "x_t for x_0_hat": lambda x, e, t, s, ab: sqrt(ab[s]) * x + sqrt(1 - ab[s]) * e,
        "s and t swapped": lambda x, e, t, s, ab: Torch.ddim_step(x, e, s, t, ab) if s else x,
        "always to t - 1": lambda x, e, t, s, ab: Torch.ddim_step(x, e, t, t - 1, ab),
        "always to x_0_hat": lambda x, e, t, s, ab: Torch.eps_to_x0(x, e, t, ab),
        "minus the noise": lambda x, e, t, s, ab: sqrt(ab[s]) * Torch.eps_to_x0(x, e, t, ab) - sqrt(1 - ab[s]) * e,
        "stride in beta": lambda x, e, t, s, ab: (
            sqrt(ab[s]) * Torch.eps_to_x0(x, e, t, ab) + sqrt(1 - ab[s] / ab[t]).nan_to_num() * e
        ),
    },
    "guided_given": {
        "along the wrong sign": lambda e, g, s, t, ab: e + s * sqrt(1 - ab[t]) * g,
        "1 - alpha_bar without its root": lambda e, g, s, t, ab: e - s * (1 - ab[t]) * g,
        "the gradient unscaled": lambda e, g, s, t, ab: e - s * g,
        "divided by the root": lambda e, g, s, t, ab: e - s / sqrt(1 - ab[t]) * g,
        "alpha_bar for 1 - alpha_bar": lambda e, g, s, t, ab: e - s * sqrt(ab[t]) * g,
        "scale 0 is Bayes' rule": lambda e, g, s, t, ab: e - (1 + s) * sqrt(1 - ab[t]) * g,
        "no scale": lambda e, g, s, t, ab: e - sqrt(1 - ab[t]) * g * (s != 0),
        "scale of eps too": lambda e, g, s, t, ab: (1 - s) * e - s * sqrt(1 - ab[t]) * g,
        "scale squared": lambda e, g, s, t, ab: e - s**2 * sqrt(1 - ab[t]) * g,
        "t off by one": lambda e, g, s, t, ab: e - s * sqrt(1 - ab[t - 1]) * g,
        "the change alone": lambda e, g, s, t, ab: -s * sqrt(1 - ab[t]) * g,
    },
    "kl_gaussians": {
        "the wrong way round": lambda m, v, k, w: Torch.kl_gaussians(k, w, m, v),
        "not halved": divergence(lambda gap, v, w: (v / w - 1 - torch.log(v / w) + gap**2 / w).sum(1)),
        "mean over the coordinates": divergence(
            lambda gap, v, w: 0.5 * (v / w - 1 - torch.log(v / w) + gap**2 / w).mean(1)
        ),
        "one number for all rows": divergence(
            lambda gap, v, w: 0.5 * (v / w - 1 - torch.log(v / w) + gap**2 / w).sum()
        ),
        "logarithm with the wrong sign": divergence(
            lambda gap, v, w: 0.5 * (v / w - 1 + torch.log(v / w) + gap**2 / w).sum(1)
        ),
        "no logarithm": divergence(lambda gap, v, w: 0.5 * (v / w - 1 + gap**2 / w).sum(1)),
        "no - 1": divergence(lambda gap, v, w: 0.5 * (v / w - torch.log(v / w) + gap**2 / w).sum(1)),
        "logarithm once for all d": divergence(
            lambda gap, v, w: 0.5 * ((v / w - 1 + gap**2 / w).sum(1) - torch.log(v / w))
        ),
        "logarithm not halved": divergence(
            lambda gap, v, w: 0.5 * (v / w - 1 - 2 * torch.log(v / w) + gap**2 / w).sum(1)
        ),
        "base 2": divergence(lambda gap, v, w: 0.5 * (v / w - 1 - torch.log2(v / w) + gap**2 / w).sum(1)),
        "the gap not squared": divergence(
            lambda gap, v, w: 0.5 * (v / w - 1 - torch.log(v / w) + gap.abs() / w).sum(1)
        ),
        "the gap over the first variance": divergence(
            lambda gap, v, w: 0.5 * (v / w - 1 - torch.log(v / w) + gap**2 / v).sum(1)
        ),
        "the gap over the square": divergence(
            lambda gap, v, w: 0.5 * (v / w - 1 - torch.log(v / w) + gap**2 / w**2).sum(1)
        ),
        "standard deviations given": divergence(
            lambda gap, v, w: 0.5 * (v**2 / w**2 - 1 - torch.log(v**2 / w**2) + gap**2 / w**2).sum(1)
        ),
    },
    "prior_term": {
        "the wrong way round": lambda x, ab: Torch.kl_gaussians(0 * x, 1.0, sqrt(ab[-1]) * x, float(1 - ab[-1])),
        "log(1 - alpha_bar_N) with the wrong sign": prior(
            lambda x, left: 0.5 * (left * x**2 - left + torch.log(1 - left)).sum(1)
        ),
        "not halved": prior(lambda x, left: (left * x**2 - left - torch.log(1 - left)).sum(1)),
        "the mean's part not halved": prior(lambda x, left: (left * x**2 - 0.5 * (left + torch.log(1 - left))).sum(1)),
        "mean over the coordinates": prior(lambda x, left: 0.5 * (left * x**2 - left - torch.log(1 - left)).mean(1)),
        "mean over the rows": prior(lambda x, left: 0.5 * (left * x**2 - left - torch.log(1 - left)).sum(1).mean()),
        "constants once for all d": prior(lambda x, left: 0.5 * (left * (x**2).sum(1) - left - torch.log(1 - left))),
        "a root too many": prior(lambda x, left: 0.5 * (sqrt(left) * x**2 - left - torch.log(1 - left)).sum(1)),
        "alpha_bar squared": prior(lambda x, left: 0.5 * (left**2 * x**2 - left - torch.log(1 - left)).sum(1)),
        "alpha_bar_1": lambda x, ab: Torch.prior_term(x, ab[:2]),
        "alpha_bar_{N-1}": lambda x, ab: Torch.prior_term(x, ab[:-1]),
        "the mean's part alone": prior(lambda x, left: 0.5 * (left * x**2).sum(1)),
        "log of alpha_bar": prior(lambda x, left: 0.5 * (left * x**2 - left - torch.log(left)).sum(1)),
    },
}
