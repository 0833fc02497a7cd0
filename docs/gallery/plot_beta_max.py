"""
beta_max, and what it costs
===========================

A course notebook takes N = 100 steps with beta on a line from 0.001 to 0.02. What does the end of the line cost? The
network here is the exact one, so that nothing but the schedule is to blame.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from backwalk.datasets import around_points, mixture_form
from backwalk.diffusion import (
    NoiseSchedule,
    denoising_error,
    moments,
    optimal_variance,
    prior_mismatch,
    q_sample,
    variational_bound,
)
from backwalk.streams import Stream

angle = np.linspace(0, np.pi, 25)
upper = np.column_stack([np.cos(angle), np.sin(angle)])
moons = around_points(np.vstack([upper, [1.0, 0.5] - upper]), noise=0.08)
X = moons.sample(1_500, random_state=0)
centre, scale = X.mean(0), X.std(0)
exact = mixture_form(moons).encoded(centre, scale).denoiser()  # of standardised rows
x_0 = torch.from_numpy((X - centre) / scale)

ends = (0.005, 0.01, 0.02, 0.04, 0.08, 0.2)
true = moons.log_prob(X[80:160]) + np.log(scale).sum()  # of the same rows, in standardised units
gaps, mismatches, left = [], [], []
for beta_max in ends:
    schedule = NoiseSchedule.linear(100, beta_min=1e-3, beta_max=beta_max)
    error = denoising_error(exact, x_0[:80], schedule, stream=Stream(0))
    terms = variational_bound(exact, x_0[80:160], schedule, optimal_variance(schedule, error), stream=Stream(1))
    gaps.append((terms.per_row.numpy() + true).mean())
    mismatches.append(prior_mismatch(*moments(x_0), schedule))
    left.append(float(schedule.alpha_bar[-1]))

fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.4))
axes[0].plot(ends, left, marker="o", markersize=4)
axes[0].set(xlabel="beta_max", ylabel=r"$\bar\alpha_N$, the signal that is left", xscale="log")
axes[1].plot(ends, gaps, marker="o", markersize=4, label="bound above -log p")
axes[1].plot(ends, mismatches, marker="o", markersize=4, label="of it at least by the end of the chain")
axes[1].set(xlabel="beta_max", ylabel="nats per row", xscale="log", yscale="log")
axes[1].legend()
for ax in axes:
    ax.axvline(0.02, color="0.5", linestyle="--", linewidth=1)
plt.show()

# %%
# Sampling begins with pure noise. Where signal is left at t = N, this is the wrong start. The dots are rows at the end
# of the chain, and the circles hold 39 and 86 % of pure noise. With a beta_max of 0.02, at the dashed line above, they
# are not round yet. A larger beta_max mends that, but makes each step larger, which costs the other terms.

eps = torch.from_numpy(np.random.default_rng(0).normal(size=x_0.shape))
fig, axes = plt.subplots(1, 3, figsize=(9, 3.1), sharex=True, sharey=True)
for ax, beta_max in zip(axes, (0.01, 0.02, 0.1)):
    schedule = NoiseSchedule.linear(100, beta_min=1e-3, beta_max=beta_max)
    ax.scatter(*q_sample(x_0, 100, eps, schedule).T, s=2, linewidths=0, alpha=0.7)
    for radius in (1, 2):
        ax.add_patch(plt.Circle((0, 0), radius, fill=False, color="C1", linewidth=1.2))
    ax.set(title=f"beta_max = {beta_max:g}", aspect="equal", xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[])
plt.show()
