"""
A student that draws in one evaluation
======================================

The probability-flow ODE maps each noise to one row. A student network learns this map from pairs of noise and row. Then
one evaluation is enough where the model takes twenty.
"""

import time

import matplotlib.pyplot as plt
import numpy as np

from backwalk import Diffusion
from backwalk.datasets import two_moons

X = two_moons().sample(3_000, random_state=0)
model = Diffusion(max_steps=400, random_state=0, verbose=False).fit(X)
model.distil(max_steps=1_200, random_state=1)
print(f"root mean square difference to the model's rows: {model.model_.student.error:.3f} standard deviations")

seconds, drawn = {}, {}
for sampler in ("multistep", "distilled"):
    model.sample(10, sampler=sampler, random_state=2)
    began = time.perf_counter()
    drawn[sampler] = model.sample(4_000, sampler=sampler, random_state=2)
    seconds[sampler] = time.perf_counter() - began
print(f"the student takes {seconds['distilled'] / seconds['multistep']:.0%} of the time")

fig, axes = plt.subplots(1, 3, figsize=(10, 2.9))
for ax, (title, points) in zip(
    axes, (("data", X), ("model, 20 evaluations", drawn["multistep"]), ("student, 1 evaluation", drawn["distilled"]))
):
    ax.scatter(*points[:3_000].T, s=1.5, linewidths=0, alpha=0.6, color="C0" if title == "data" else "C1")
    ax.set(title=title, aspect="equal", xlim=(-1.7, 2.7), ylim=(-1.3, 1.8), xticks=[], yticks=[])
plt.show()

# %%
# The map
# -------
#
# Both draw from the same noise, so that their rows can be paired. Colours say which moon the model's row lies on: the
# student has to cut the plane of noise at the same place.

noise = next(iter(model.walk(4_000, sampler="multistep", random_state=2))).rows
noise = noise / noise.std(0)
from_upper, from_lower = (abs(np.linalg.norm(drawn["multistep"] - c, axis=1) - 1) for c in ([0, 0], [1, 0.5]))
lower = from_lower < from_upper
fig, axes = plt.subplots(1, 2, figsize=(8, 3.4))
for part, colour in ((~lower, "C0"), (lower, "C1")):
    axes[0].scatter(*noise[part].T, s=2, linewidths=0, color=colour)
    axes[1].scatter(*drawn["distilled"][part].T, s=2, linewidths=0, color=colour)
axes[0].set(title="noise", aspect="equal", xlim=(-3, 3), ylim=(-3, 3), xticks=[], yticks=[])
axes[1].set(title="the student's rows", aspect="equal", xticks=[], yticks=[])
plt.show()
