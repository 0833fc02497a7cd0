"""
A network of your own
=====================

Any ``torch.nn.Module`` of noisy points and noise levels can be the network. This one reads each coordinate through
sines and cosines. It learns a checkerboard, whose edges are hard for a network that reads the plain coordinates.
"""

import matplotlib.pyplot as plt
import torch
from torch import nn

from backwalk import Diffusion
from backwalk.datasets import checkerboard


class Fourier(nn.Module):
    """A network that sees the waves of each coordinate."""

    def __init__(self, d, n_waves=6, width=96):
        super().__init__()
        self.register_buffer("frequency", torch.pi / 2 * 1.6 ** torch.arange(n_waves))
        self.body = nn.Sequential(
            nn.Linear(d + 1 + 2 * n_waves * d, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, d),
        )

    def forward(self, x_t, level):
        waves = (x_t[:, :, None] * self.frequency).flatten(1)
        return self.body(torch.cat([x_t, level[:, None], waves.sin(), waves.cos()], dim=1))


class Plain(nn.Module):
    """The same without waves."""

    def __init__(self, d, width=96):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(d + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, d)
        )

    def forward(self, x_t, level):
        return self.body(torch.cat([x_t, level[:, None]], dim=1))


board = checkerboard()
X, X_test = board.sample(4_000, random_state=0), board.sample(300, random_state=1)
models = {}
for network in (Plain, Fourier):
    torch.manual_seed(0)  # for the initial weights
    model = Diffusion(denoiser=network(2), max_steps=400, random_state=0, verbose=False)
    models[network.__name__] = model.fit(X)

fig, axes = plt.subplots(1, 3, figsize=(9.5, 3.4), sharex=True, sharey=True)
axes[0].scatter(*X.T, s=1.5, linewidths=0, alpha=0.6)
axes[0].set_title(f"data: {board.entropy:.2f} nats")
for ax, (name, model) in zip(axes[1:], models.items()):
    ax.scatter(*model.sample(4_000, random_state=2).T, s=1.5, linewidths=0, alpha=0.6, color="C1")
    ax.set_title(f"{name}: {-model.score(X_test):.2f} nats")
for ax in axes:
    ax.set(aspect="equal", xticks=[], yticks=[])
plt.show()

# %%
# The figures are means of -log p over unseen rows; less is better, and the entropy of the data is the least.
