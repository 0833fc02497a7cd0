"""
A posterior beside the bounds of its prior
==========================================

A coin lands heads with probability p, of which the prior is uniform in 0..1. After 20 throws without heads the
posterior is highest at the bound. Its exact form is known, a beta distribution, so the figure shows what was learnt
beside what is right. No draw lies beyond a bound, and the density integrates to 1 between them.
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

grid = torch.linspace(0.005, 0.995, 120)
fig, axes = plt.subplots(1, 4, figsize=(10, 2.8), sharex=True)
for ax, heads in zip(axes, (0, 3, 10, 20)):
    draws = of_p.sample((1_000,), [heads], random_state=1)[:, 0]
    ax.hist(draws, bins=40, range=(0, 1), density=True, alpha=0.4, label="draws")
    density = of_p.log_prob(grid[:, None], [heads]).exp()
    ax.plot(grid, density, color="C1", linewidth=1.4, label="density")
    exact = torch.distributions.Beta(1.0 + heads, 21.0 - heads).log_prob(grid).exp()
    ax.plot(grid, exact, color="C2", linestyle="--", linewidth=1.2, label="exact")
    ax.set(title=f"{heads} of 20", xlabel="p", yticks=[])
    ends = f"{float(draws.min()):.4f} to {float(draws.max()):.4f}"
    print(f"{heads:2} heads: integral of the density {float(torch.trapezoid(density, grid)):.3f}, draws {ends}")
axes[1].legend()
plt.show()
