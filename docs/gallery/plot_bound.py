"""
The bound, term by term
=======================

The variational bound on -log p is a sum: what the end of the chain costs, what each step costs, and how well the last
step hits the row. All terms are in nats per row.
"""

import matplotlib.pyplot as plt

from backwalk import Diffusion
from backwalk.datasets import two_moons

moons = two_moons()
X, X_test = moons.sample(3_000, random_state=0), moons.sample(300, random_state=1)
model = Diffusion(max_steps=300, random_state=0, verbose=False).fit(X)
terms = model.bound(X_test, random_state=2)
print(terms)

fig, ax = plt.subplots()
ax.plot(range(2, len(terms.transitions)), terms.transitions[2:], linewidth=1)
ax.set(xlabel="step t", ylabel=r"$L_{t-1}$, nats", title="What each of 1,000 steps costs")
plt.show()

# %%
# The steps are even in the logarithm of the signal-to-noise ratio. At the left, near the data, each costs the same:
# fine noise is removed, as from any density that is smooth at this scale. In the hump around t = 550 it is decided
# where on the moons a point lies. At the right, in nearly pure noise, little can be decided.
#
# From the terms to the sum
# -------------------------
#
# The last term is negative. It is the negative logarithm of a density, and a density may exceed 1: given its slightly
# noisy version, a row is known to within hundredths.

parts = {
    "$L_N$": terms.prior,
    r"$\sum L_{t-1}$": float(terms.transitions.sum()),
    "$L_0$": terms.reconstruction,
}
fig, ax = plt.subplots()
reached = 0.0
for i, value in enumerate(parts.values()):
    ax.bar(i, value, bottom=reached, width=0.6, color="C0" if value >= 0 else "C2", alpha=0.7)
    ax.text(i, reached + max(value, 0) + 0.15, f"{value:+.3f}", ha="center")
    reached += value
figures = {
    "bound": terms.total,
    "ODE": -model.score_samples(X_test).mean(),
    "entropy": moons.entropy,
}
for i, value in enumerate(figures.values(), len(parts)):
    ax.bar(i, value, width=0.6, color="C1", alpha=0.8)
    ax.text(i, value + 0.15, f"{value:.3f}", ha="center")
ax.set_xticks(range(6), [*parts, *figures])
ax.set_ylabel("nats per row")
ax.set_ylim(0, 1.1 * (parts["$L_N$"] + parts[r"$\sum L_{t-1}$"]))
plt.show()

# %%
# The entropy is the least that any model can reach on average. The bound and the figure of the probability-flow ODE
# belong to two models that share a network, so either may be the smaller one.
#
# Fewer steps
# -----------
#
# A chain of fewer steps has a larger bound, because each step back is assumed to be normal. The bars are standard
# errors over rows. All chains are judged by the same rows, so that their differences are more certain than these.

import torch

from backwalk.diffusion import evenly_spaced, optimal_variance, variational_bound
from backwalk.streams import Stream

numbers = (10, 20, 50, 100, 300, 1_000)
x_0 = torch.from_numpy(model.codec_.encode(X_test)).float()
log_volume = -torch.from_numpy(model.codec_.log_abs_det_jacobian(X_test))  # from encoded units to those of the data
bounds = []
for k in numbers:
    times = evenly_spaced(1_000, k)
    short = model.schedule_.respace(times)
    sigma_sq = optimal_variance(short, model.model_.denoising_error[[0, *times]])
    bounds.append(variational_bound(model.denoiser_, x_0, short, sigma_sq, stream=Stream(2), log_volume=log_volume))
fig, ax = plt.subplots()
ax.errorbar(numbers, [b.total for b in bounds], [b.total_standard_error for b in bounds], marker="o", markersize=4)
ax.axhline(moons.entropy, color="0.5", linestyle="--", linewidth=1)
ax.text(10, moons.entropy + 0.02, "entropy", va="bottom")
ax.set(xscale="log", xlabel="steps of the chain", ylabel="bound, nats per row")
plt.show()
