"""
A posterior with two modes
==========================

You are somewhere on a map. Two beacons on one line tell their distances, with errors. Two places fit, one on each side
of the line. A third beacon decides.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from backwalk import Diffusion, Number, posterior

rng = np.random.default_rng(0)
beacons = np.array([[-1.0, 0.0], [1.0, 0.0], [0.3, 1.2]])


def distances(place):
    exact = np.linalg.norm(place[:, None] - beacons, axis=2)
    return exact + 0.1 * rng.normal(size=exact.shape)


place = rng.uniform(-2, 2, size=(3_000, 2))
rows = pd.DataFrame(np.hstack([place, distances(place)]), columns=["east", "north", "d1", "d2", "d3"])
bounds = {"east": Number(bounds=(-2, 2)), "north": Number(bounds=(-2, 2))}
sets = [["d1", "d2"], ["d1", "d2", "d3"]]  # what may be given
posteriors = []
for given in sets:
    table = rows[["east", "north", *given]]
    model = Diffusion(conditions=[given], columns=bounds, max_steps=250, random_state=0, verbose=False).fit(table)
    posteriors.append(posterior(model, given=given))

truth = np.array([[0.7, -1.1]])
heard = np.linalg.norm(truth[:, None] - beacons, axis=2)[0]
fig, axes = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True)
for ax, of_place, given in zip(axes, posteriors, sets):
    draws = of_place.sample((1_000,), heard[: len(given)], random_state=1)
    ax.scatter(*draws.T, s=4, linewidths=0, alpha=0.4, label="posterior")
    for (x, y), distance in zip(beacons[: len(given)], heard):
        ax.add_patch(plt.Circle((x, y), distance, fill=False, color="0.6", linewidth=0.8, linestyle="--"))
    ax.plot(*beacons[: len(given)].T, "^", color="C2", markersize=8, label="beacons")
    ax.plot(*truth[0], "+", color="C1", markersize=12, markeredgewidth=2, label="you")
    ax.set(title=f"{len(given)} beacons", xlim=(-2, 2), ylim=(-2, 2), xlabel="east", aspect="equal")
    print(f"{len(given)} beacons: {float((draws[:, 1] < 0).double().mean()):.0%} of draws in the south")
axes[0].set_ylabel("north")
axes[0].legend(loc="upper left")
plt.show()

# %%
# With two beacons, half of the draws should lie on each side, as the simulator does not tell them apart. Points in
# between would be a sign of too few training steps.
