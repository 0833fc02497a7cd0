"""
Planted outliers, found
=======================

A row is an outlier where its log-density is low. ``score_ranks`` compares it with rows that the fit did not see: rank
0.01 is among the one per cent of least density. The planted rows lie between the rings, so that
no single column gives them away.
"""

import matplotlib.pyplot as plt
import numpy as np

from backwalk import Diffusion
from backwalk.datasets import rings

data = rings()
X, X_held_out = data.sample(3_000, random_state=0), data.sample(500, random_state=1)
radius = np.linalg.norm(X, axis=1).max()

rng = np.random.default_rng(0)
candidates = rng.uniform(-radius, radius, size=(4_000, 2))
between = (data.log_prob(candidates) < -8) & (np.linalg.norm(candidates, axis=1) < 0.95 * radius)
planted = candidates[between][:40]
rows = np.vstack([data.sample(400, random_state=2), planted])
is_planted = np.arange(len(rows)) >= 400

model = Diffusion(max_steps=400, random_state=0, verbose=False).fit(X)
rank = model.score_ranks(rows, X_held_out)
flagged = rank < 0.01

fig, axes = plt.subplots(1, 2, figsize=(9, 4))
axes[0].scatter(*X.T, s=1, color="0.7", linewidths=0)
axes[0].scatter(*rows[~flagged].T, s=8, linewidths=0, label="not flagged")
axes[0].scatter(*rows[flagged].T, s=22, marker="x", color="C1", label="rank below 0.01")
axes[0].set(aspect="equal", xticks=[], yticks=[])
axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=2)

scores = model.score_samples(rows)
bins = np.linspace(np.quantile(scores, 0.01), scores.max(), 50)
axes[1].hist(scores[~is_planted], bins=bins, alpha=0.45, label="rows of the rings")
axes[1].hist(
    np.maximum(scores[is_planted], bins[0]), bins=bins, histtype="step", color="C1", linewidth=1.6, label="planted"
)
axes[1].axvline(np.quantile(model.score_samples(X_held_out), 0.01), color="0.5", linestyle="--", linewidth=1)
axes[1].set(xlabel="log-density, nats", yticks=[])
axes[1].legend(loc="upper left")
plt.show()

print(
    f"{flagged[is_planted].mean():.0%} of planted rows are flagged, and {flagged[~is_planted].mean():.1%} of the others"
)
