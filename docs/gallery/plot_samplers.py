"""
Two moons by every sampler
==========================

One fitted model, four ways to draw from it. *Evaluations* are how often the network is asked for each row. The
deterministic solvers, DDIM and "multistep", need few. Ancestral sampling, the paper's, needs many.
"""

import matplotlib.pyplot as plt

from backwalk import Diffusion
from backwalk.datasets import two_moons

X = two_moons().sample(3_000, random_state=0)
model = Diffusion(max_steps=400, random_state=0, verbose=False).fit(X)

samplers = ("ancestral", "ddim", "multistep", "multistep-sde")
numbers = (6, 12, 50)
fig, axes = plt.subplots(len(numbers), len(samplers), figsize=(10, 5.6), sharex=True, sharey=True)
for row, k in zip(axes, numbers):
    for ax, sampler in zip(row, samplers):
        drawn = model.sample(1_500, sampler=sampler, n_evaluations=k, random_state=1)
        ax.scatter(*drawn.T, s=1.5, linewidths=0, alpha=0.6, color="C1")
        ax.set(xlim=(-1.7, 2.7), ylim=(-1.3, 1.8), xticks=[], yticks=[], aspect="equal")
    row[0].set_ylabel(f"{k} evaluations")
for ax, sampler in zip(axes[0], samplers):
    ax.set_title(sampler)
plt.show()

# %%
# The same noise, step by step
# ----------------------------
#
# Twelve rows on their way from noise, at the left, to data. Ancestral sampling adds fresh noise in every step, and the
# paths tremble. DDIM adds none: its paths are smooth, so that a solver may take long steps.

import numpy as np

fig, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
for ax, sampler in zip(axes, ("ancestral", "ddim")):
    states = list(model.walk(12, sampler=sampler, n_evaluations=100, random_state=2))
    levels = [np.log10(max(state.noise_level, 1e-3)) for state in states]
    ax.plot(levels, [state.rows[:, 0] for state in states], color="C1", linewidth=0.9, alpha=0.8)
    ax.set(title=sampler, xlabel="noise level, log10", ylim=(-3, 4))
    ax.invert_xaxis()
axes[0].set_ylabel("first column")
plt.show()
