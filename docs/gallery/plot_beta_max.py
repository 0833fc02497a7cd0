"""
beta_max, and what it costs
===========================

A course notebook takes N = 100 steps with beta on a line from 0.001 to 0.02. Then a third of the signal's variance is
left at the end, but sampling begins with pure noise. What this costs the bound at least, whatever the network, follows
from the mean and the covariance of the data.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from backwalk.datasets import two_moons
from backwalk.diffusion import NoiseSchedule, moments, prior_mismatch, q_sample

x_0 = torch.from_numpy(two_moons().sample(1_500, random_state=0))
ends = np.geomspace(0.005, 0.2, 60)

fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.4))
for n_steps in (100, 1_000):
    schedules = [NoiseSchedule.linear(n_steps, beta_min=1e-3, beta_max=end) for end in ends]
    axes[0].plot(ends, [schedule.alpha_bar[-1] for schedule in schedules], label=f"N = {n_steps:,}")
    axes[1].plot(ends, [prior_mismatch(*moments(x_0), schedule) for schedule in schedules])
axes[0].set(xlabel="beta_max", ylabel=r"$\bar\alpha_N$, the signal that is left", xscale="log")
axes[1].set(xlabel="beta_max", ylabel="least cost, nats per row", xscale="log", yscale="log", ylim=(1e-6, 1))
axes[0].legend()
for ax in axes:
    ax.axvline(0.02, color="0.5", linestyle="--", linewidth=1)
plt.show()

notebook = NoiseSchedule.linear(100, beta_min=1e-3, beta_max=0.02)
print(f"the notebook: alpha_bar_N = {float(notebook.alpha_bar[-1]):.4f}, at least", end=" ")
print(f"{prior_mismatch(*moments(x_0), notebook):.3f} nats per row")

# %%
# The end of the chain
# --------------------
#
# Dots are the rows after 100 steps. The circles hold 39 and 86 % of pure noise, from which sampling begins. With a
# beta_max of 0.02 the dots are neither round nor in the middle. A larger beta_max, or more steps, mends that. But
# larger steps make each step back harder, so do not take more than needed.

eps = torch.from_numpy(np.random.default_rng(0).normal(size=x_0.shape))
fig, axes = plt.subplots(1, 3, figsize=(9, 3.1), sharex=True, sharey=True)
for ax, beta_max in zip(axes, (0.005, 0.02, 0.1)):
    schedule = NoiseSchedule.linear(100, beta_min=1e-3, beta_max=beta_max)
    ax.scatter(*q_sample(x_0, 100, eps, schedule).T, s=2, linewidths=0, alpha=0.7)
    for radius in (1, 2):
        ax.add_patch(plt.Circle((0, 0), radius, fill=False, color="C1", linewidth=1.2))
    ax.set(title=f"beta_max = {beta_max:g}", aspect="equal", xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[])
plt.show()
