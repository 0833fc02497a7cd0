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
from backwalk.diffusion import NoiseSchedule, denoising_error, optimal_variance, variational_bound
from backwalk.fit.oracle import oracle_model
from backwalk.model import sample_rows
from backwalk.sampling import Sampler
from backwalk.streams import Stream

angle = np.linspace(0, np.pi, 25)
upper = np.column_stack([np.cos(angle), np.sin(angle)])
moons = around_points(np.vstack([upper, [1.0, 0.5] - upper]), noise=0.08)
X = moons.sample(1_500, random_state=0)
centre, scale = X.mean(0), X.std(0)
exact = mixture_form(moons).encoded(centre, scale).denoiser()  # of standardised rows
x_0 = torch.from_numpy((X - centre) / scale)

ends = (0.005, 0.01, 0.02, 0.04, 0.08, 0.2)
terms, left = [], []
for beta_max in ends:
    schedule = NoiseSchedule.linear(100, beta_min=1e-3, beta_max=beta_max)
    error = denoising_error(exact, x_0[:80], schedule, stream=Stream(0))
    terms.append(variational_bound(exact, x_0[80:160], schedule, optimal_variance(schedule, error), stream=Stream(1)))
    left.append(float(schedule.alpha_bar[-1]))

fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.4))
axes[0].plot(ends, left, marker="o", markersize=4)
axes[0].set(xlabel="beta_max", ylabel=r"$\bar\alpha_N$, the signal that is left", xscale="log")
entropy = moons.entropy - np.log(scale).sum()  # in standardised units
axes[1].plot(ends, [t.total - entropy for t in terms], marker="o", markersize=4, label="bound above the entropy")
axes[1].plot(ends, [t.prior for t in terms], marker="o", markersize=4, label=r"of it $L_N$, the prior mismatch")
axes[1].set(xlabel="beta_max", ylabel="nats per row", xscale="log", yscale="log")
axes[1].legend()
for ax in axes:
    ax.axvline(0.02, color="0.5", linestyle="--", linewidth=1)
plt.show()

# %%
# Sampling begins with pure noise. Where signal is left at t = N, this is the wrong start, and the rows have the wrong
# distribution: with beta_max = 0.02, at the dashed line, they are too near to the centre. A larger beta_max removes
# that, and makes each step larger, which costs the other terms.

fig, axes = plt.subplots(1, 4, figsize=(10, 2.6), sharex=True, sharey=True)
axes[0].scatter(*x_0.T, s=1.5, linewidths=0, alpha=0.6)
axes[0].set_title("data")
for ax, beta_max in zip(axes[1:], (0.01, 0.02, 0.1)):
    schedule = NoiseSchedule.linear(100, beta_min=1e-3, beta_max=beta_max)
    model = oracle_model(exact, x_0[:80].numpy(), schedule, reverse_variance="beta", sampler=Sampler("ancestral"))
    rows = sample_rows(model, 0, 600, stream=Stream(2))
    ax.scatter(*np.asarray(rows).T, s=1.5, linewidths=0, alpha=0.6, color="C1")
    ax.set_title(f"beta_max = {beta_max:g}")
for ax in axes:
    ax.set(aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), xticks=[], yticks=[])
plt.show()
