"""
A posterior beside the bounds of its prior
==========================================

A coin lands heads with probability p, of which the prior is uniform in 0..1. After 20 throws without heads the
posterior is highest at the bound. Its exact form is known, a beta distribution, so the figure shows what was learnt
beside what is right.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from backwalk import Diffusion, Number, posterior

rng = np.random.default_rng(0)
p = rng.uniform(0, 1, 4_000)
rows = pd.DataFrame({"p": p, "heads": rng.binomial(20, p)})
model = Diffusion(
    conditions=[["heads"]], columns={"p": Number(bounds=(0, 1))}, max_steps=250, random_state=0, verbose=False
).fit(rows)
of_p = posterior(model, given=["heads"])

grid = torch.linspace(0.003, 0.997, 200)
fig, axes = plt.subplots(1, 4, figsize=(10, 2.8), sharex=True)
for ax, heads in zip(axes, (0, 3, 10, 20)):
    draws = of_p.sample((2_000,), [heads], random_state=1)[:, 0]
    ax.hist(draws, bins=50, range=(0, 1), density=True, alpha=0.4, label="draws")
    ax.plot(grid, of_p.log_prob(grid[:, None], [heads]).exp(), color="C1", linewidth=1.4, label="density")
    exact = torch.distributions.Beta(1.0 + heads, 21.0 - heads).log_prob(grid).exp()
    ax.plot(grid, exact, color="C2", linestyle="--", linewidth=1.2, label="exact")
    ax.set(title=f"{heads} of 20", xlabel="p", yticks=[])
axes[1].legend()
plt.show()

# %%
# No draw lies beyond a bound, and the density integrates to 1 between them.

for heads in (0, 10, 20):
    integral = float(torch.trapezoid(of_p.log_prob(grid[:, None], [heads]).exp(), grid))
    draws = of_p.sample((2_000,), [heads], random_state=1)
    print(f"{heads:2} heads: integral {integral:.3f}, draws {float(draws.min()):.4f} to {float(draws.max()):.4f}")
