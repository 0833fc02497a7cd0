"""Three solutions of every exercise, written apart: in torch, in NumPy, and as loops over numbers."""

import math

import numpy as np
import torch


class Torch:
    """As a student of the lessons writes them."""

    def snr(t, alpha_bar):
        return alpha_bar[t] / (1 - alpha_bar[t])

    def q_sample(x_0, t, eps, alpha_bar):
        return torch.sqrt(alpha_bar[t]) * x_0 + torch.sqrt(1 - alpha_bar[t]) * eps

    def cosine_schedule(n_steps):
        f = torch.cos((torch.arange(n_steps + 1) / n_steps + 0.008) / 1.008 * torch.pi / 2) ** 2
        beta = torch.zeros(n_steps + 1)
        beta[1:] = torch.clamp(1 - f[1:] / f[:-1], max=0.999)
        return beta

    def q_posterior(x_t, x_0, t, beta, alpha_bar):
        variance = beta[t] * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])
        of_x_0 = torch.sqrt(alpha_bar[t - 1]) * beta[t] / (1 - alpha_bar[t])
        of_x_t = torch.sqrt(1 - beta[t]) * (1 - alpha_bar[t - 1]) / (1 - alpha_bar[t])
        return of_x_0 * x_0 + of_x_t * x_t, variance

    def eps_to_x0(x_t, eps, t, alpha_bar):
        return (x_t - torch.sqrt(1 - alpha_bar[t]) * eps) / torch.sqrt(alpha_bar[t])

    def mu_theta(x_t, eps, t, beta, alpha_bar):
        return (x_t - beta[t] / torch.sqrt(1 - alpha_bar[t]) * eps) / torch.sqrt(1 - beta[t])

    def simple_loss(eps_theta, x_0, t, eps, alpha_bar):
        x_t = torch.sqrt(alpha_bar[t]) * x_0 + torch.sqrt(1 - alpha_bar[t]) * eps
        return ((eps_theta(x_t, t) - eps) ** 2).sum(dim=1).mean()

    def ancestral_step(x_t, eps, t, z, beta, alpha_bar, sigma_sq):
        mean = (x_t - beta[t] / torch.sqrt(1 - alpha_bar[t]) * eps) / torch.sqrt(1 - beta[t])
        return mean if t == 1 else mean + torch.sqrt(sigma_sq[t]) * z

    def ddim_step(x_t, eps, t, s, alpha_bar):
        x_0_hat = (x_t - torch.sqrt(1 - alpha_bar[t]) * eps) / torch.sqrt(alpha_bar[t])
        return torch.sqrt(alpha_bar[s]) * x_0_hat + torch.sqrt(1 - alpha_bar[s]) * eps

    def guided_given(eps, gradient, scale, t, alpha_bar):
        return eps - scale * torch.sqrt(1 - alpha_bar[t]) * gradient

    def kl_gaussians(mean_p, var_p, mean_q, var_q):
        ratio = torch.as_tensor(var_p / var_q)
        return 0.5 * (ratio - 1 - torch.log(ratio) + (mean_p - mean_q) ** 2 / var_q).sum(dim=1)

    def prior_term(x_0, alpha_bar):
        left = alpha_bar[-1]
        return 0.5 * (left * x_0**2 - left - torch.log(1 - left)).sum(dim=1)


class NumPy:
    """With other forms of the formulas where there are any."""

    def snr(t, alpha_bar):
        alpha_bar = np.asarray(alpha_bar)
        return 1 / (1 / alpha_bar[t] - 1)

    def q_sample(x_0, t, eps, alpha_bar):
        share = np.asarray(alpha_bar)[np.asarray(t)]
        return np.asarray(x_0) * share**0.5 + np.asarray(eps) * (1 - share) ** 0.5

    def cosine_schedule(n_steps):
        angle = np.linspace(0.008, 1.008, n_steps + 1) / 1.008 * np.pi / 2
        alpha_bar = (np.cos(angle) / np.cos(angle[0])) ** 2
        return np.concatenate([[0.0], np.clip(1 - alpha_bar[1:] / alpha_bar[:-1], None, 0.999)])

    def q_posterior(x_t, x_0, t, beta, alpha_bar):
        x_t, x_0 = np.asarray(x_t), np.asarray(x_0)
        if t == 1:
            return x_0.copy(), 0.0
        of_x_t, of_x_0 = (1 - beta[t]) / beta[t], 1 / (1 - alpha_bar[t - 1])
        variance = float(1 / (of_x_t + of_x_0))
        said_by_x_t, said_by_x_0 = x_t / np.sqrt(1 - beta[t]), np.sqrt(alpha_bar[t - 1]) * x_0
        return variance * (float(of_x_t) * np.asarray(said_by_x_t) + float(of_x_0) * np.asarray(said_by_x_0)), variance

    def eps_to_x0(x_t, eps, t, alpha_bar):
        x_t, eps, left = np.asarray(x_t), np.asarray(eps), np.asarray(alpha_bar)[t]
        return x_t / np.sqrt(left) - np.sqrt(1 / left - 1) * eps

    def mu_theta(x_t, eps, t, beta, alpha_bar):
        x_t, eps, beta, alpha_bar = map(np.asarray, (x_t, eps, beta, alpha_bar))
        x_0_hat = NumPy.eps_to_x0(x_t, eps, t, alpha_bar)
        return NumPy.q_posterior(x_t, x_0_hat, t, beta, alpha_bar)[0]

    def simple_loss(eps_theta, x_0, t, eps, alpha_bar):
        error = eps_theta(NumPy.q_sample(x_0, t, eps, alpha_bar), np.asarray(t)) - np.asarray(eps)
        return np.einsum("nd,nd->", error, error) / len(error)

    def ancestral_step(x_t, eps, t, z, beta, alpha_bar, sigma_sq):
        noise = np.sqrt(np.asarray(sigma_sq)[t]) * np.asarray(z) * (t > 1)
        return NumPy.mu_theta(x_t, eps, t, beta, alpha_bar) + noise

    def ddim_step(x_t, eps, t, s, alpha_bar):
        x_t, eps, alpha_bar = map(np.asarray, (x_t, eps, alpha_bar))
        # as in Song et al. 2021: d(x / a) = eps d(b / a)
        level = np.sqrt(1 / alpha_bar - 1)
        return np.sqrt(alpha_bar[s]) * (x_t / np.sqrt(alpha_bar[t]) + (level[s] - level[t]) * eps)

    def guided_given(eps, gradient, scale, t, alpha_bar):
        b = np.sqrt(1 - np.asarray(alpha_bar)[t])
        score = -np.asarray(eps) / b
        return -b * (score + scale * np.asarray(gradient))

    def kl_gaussians(mean_p, var_p, mean_q, var_q):
        mean_p, mean_q = np.asarray(mean_p), np.asarray(mean_q)
        d = mean_p.shape[1]
        return 0.5 * (
            d * var_p / var_q + np.linalg.norm(mean_p - mean_q, axis=1) ** 2 / var_q - d + d * np.log(var_q / var_p)
        )

    def prior_term(x_0, alpha_bar):
        x_0, left = np.asarray(x_0), float(alpha_bar[-1])
        return NumPy.kl_gaussians(np.sqrt(left) * x_0, 1 - left, np.zeros_like(x_0), 1.0)


class Loops:
    """Number by number, with Python's own mathematics, and lists as results."""

    def snr(t, alpha_bar):
        signal = 1.0
        for s in range(1, t + 1):
            signal *= float(alpha_bar[s]) / float(alpha_bar[s - 1])
        return signal / (1 - signal)

    def q_sample(x_0, t, eps, alpha_bar):
        rows = []
        for i in range(len(x_0)):
            t_i = int(t) if np.ndim(t) == 0 else int(t[i][0])
            a, b = math.sqrt(alpha_bar[t_i]), math.sqrt(1 - alpha_bar[t_i])
            rows.append([a * float(x) + b * float(e) for x, e in zip(x_0[i], eps[i], strict=True)])
        return rows

    def cosine_schedule(n_steps):
        def f(t):
            return math.cos((t / n_steps + 0.008) / 1.008 * math.pi / 2) ** 2

        beta = [0.0]
        for t in range(1, n_steps + 1):
            beta.append(min(1 - f(t) / f(t - 1), 0.999))
        return beta

    def q_posterior(x_t, x_0, t, beta, alpha_bar):
        beta_t, before, after = float(beta[t]), float(alpha_bar[t - 1]), float(alpha_bar[t])
        mean = []
        for row_t, row_0 in zip(x_t, x_0, strict=True):
            mean.append([])
            for t_j, o_j in zip(row_t, row_0, strict=True):
                numerator = math.sqrt(before) * beta_t * o_j + math.sqrt(1 - beta_t) * (1 - before) * t_j
                mean[-1].append(float(numerator / (1 - after)))
        return mean, (1 - before) / (1 - after) * beta_t

    def eps_to_x0(x_t, eps, t, alpha_bar):
        return [
            [
                float(x - math.sqrt(1 - alpha_bar[t]) * e) / math.sqrt(alpha_bar[t])
                for x, e in zip(row, noise, strict=True)
            ]
            for row, noise in zip(x_t, eps, strict=True)
        ]

    def mu_theta(x_t, eps, t, beta, alpha_bar):
        factor = float(beta[t]) / (1 - float(alpha_bar[t])) ** 0.5
        rows = [[0.0] * len(x_t[0]) for _ in x_t]
        for i in range(len(x_t)):
            for j in range(len(x_t[0])):
                rows[i][j] = (float(x_t[i][j]) - factor * float(eps[i][j])) / (1 - float(beta[t])) ** 0.5
        return rows

    def simple_loss(eps_theta, x_0, t, eps, alpha_bar):
        total = 0.0
        for i in range(len(x_0)):
            a, b = alpha_bar[t[i]] ** 0.5, (1 - alpha_bar[t[i]]) ** 0.5
            for found, true in zip(eps_theta(a * x_0[i] + b * eps[i], t[i]), eps[i], strict=True):
                total += float(found - true) ** 2
        return total / len(x_0)

    def ancestral_step(x_t, eps, t, z, beta, alpha_bar, sigma_sq):
        rows = Loops.mu_theta(x_t, eps, t, beta, alpha_bar)
        if t > 1:
            for i, row in enumerate(rows):
                for j in range(len(row)):
                    row[j] += math.sqrt(sigma_sq[t]) * float(z[i][j])
        return rows

    def ddim_step(x_t, eps, t, s, alpha_bar):
        rows = []
        for x_0, noise in zip(Loops.eps_to_x0(x_t, eps, t, alpha_bar), eps, strict=True):
            a, b = math.sqrt(alpha_bar[s]), math.sqrt(1 - alpha_bar[s])
            rows.append([a * x + b * float(e) for x, e in zip(x_0, noise, strict=True)])
        return rows

    def guided_given(eps, gradient, scale, t, alpha_bar):
        rows = []
        for noise, slope in zip(eps, gradient, strict=True):
            rows.append(
                [
                    float(e) - (1 - float(alpha_bar[t])) ** 0.5 * scale * float(g)
                    for e, g in zip(noise, slope, strict=True)
                ]
            )
        return rows

    def kl_gaussians(mean_p, var_p, mean_q, var_q):
        divergences = []
        for p, q in zip(mean_p, mean_q, strict=True):
            terms = [
                math.log(var_q / var_p) + (var_p + float(a - b) ** 2) / var_q - 1 for a, b in zip(p, q, strict=True)
            ]
            divergences.append(sum(terms) / 2)
        return divergences

    def prior_term(x_0, alpha_bar):
        left = float(alpha_bar[len(alpha_bar) - 1])
        return [sum((left * float(x) ** 2 - left - math.log1p(-left)) / 2 for x in row) for row in x_0]


SOLUTIONS = {"torch": Torch, "NumPy": NumPy, "loops": Loops}
