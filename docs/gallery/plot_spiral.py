"""
A spiral, learnt
================

Rows that a network draws after 10, 50 and 450 training steps, and the arrows from noisy points to its estimates of the
clean ones.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from backwalk import Diffusion
from backwalk.datasets import spirals

X = spirals().sample(3_000, random_state=0)

fig, axes = plt.subplots(2, 4, figsize=(10, 5), sharex=True, sharey=True)
for ax in axes.flat:
    ax.set(xlim=(-4, 4), ylim=(-4, 4), xticks=[], yticks=[], aspect="equal")
axes[0, 0].scatter(*X.T, s=1.5, linewidths=0, alpha=0.6)
axes[0, 0].set_title("data")
axes[1, 0].set_axis_off()

grid = np.stack(np.meshgrid(*[np.linspace(-3.4, 3.4, 19)] * 2), axis=-1).reshape(-1, 2)
grid = grid[np.linalg.norm(grid, axis=1) < 3.6]
log_snr = 3.5  # a noise level of exp(-1.75) = 0.17 standard deviations
a = (1 / (1 + np.exp(-log_snr))) ** 0.5
for (above, below), n_steps in zip(axes[:, 1:].T, (10, 50, 450)):
    model = Diffusion(max_steps=n_steps, random_state=0, verbose=False).fit(X)
    above.scatter(*model.sample(2_000, random_state=1).T, s=1.5, linewidths=0, alpha=0.6, color="C1")
    above.set_title(f"{n_steps} steps")

    z = model.codec_.encode(grid)  # standardised, as the network sees them
    x_0_hat = model.denoiser_(torch.from_numpy(a * z).float(), torch.tensor(log_snr)).detach().numpy()
    to = model.codec_.decode(x_0_hat.astype(float))
    below.quiver(*grid.T, *(to - grid).T, color="C2", angles="xy", scale_units="xy", scale=1, width=0.006)
axes[0, 1].set_ylabel("rows drawn")
axes[1, 1].set_ylabel("from noisy to clean")
plt.show()

# %%
# After 10 steps the network is little more than the best linear denoiser: all arrows point to the centre, and rows form
# a disc. After 450 the arrows point to the nearest arm.
