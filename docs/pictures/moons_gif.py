"""Draw docs/pictures/moons.gif: pure noise becoming two moons, by a freshly fitted model."""

from pathlib import Path

import matplotlib.animation
import numpy as np
from matplotlib.figure import Figure

from backwalk import Diffusion
from backwalk.datasets import two_moons
from backwalk.model import walk
from backwalk.sampling import Sampler
from backwalk.streams import Stream

N_FRAMES = 36

X = two_moons().sample(10_000, random_state=0)
model = Diffusion(random_state=0).fit(X).model_
states = list(walk(model, 0, 4_000, stream=Stream(1), sampler=Sampler(n_evaluations=N_FRAMES - 1)))
# Back in the user's units, but shrunk to the spread of x_t, so that noise and data fill the same frame.
frames = [model.codec.decode(state.x_t.double().numpy()) for state in states]
chosen = np.unique(np.linspace(0, len(frames) - 1, N_FRAMES).round().astype(int))

figure = Figure(figsize=(6.4, 3.6), dpi=100, facecolor="white")
axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
axes.set(xlim=(-1.9, 2.9), ylim=(-1.1, 1.6), aspect="equal")
axes.axis("off")
angle = np.linspace(0.0, np.pi, 200)
arcs = np.stack([[np.cos(angle), np.sin(angle)], [1.0 - np.cos(angle), 0.5 - np.sin(angle)]])
distance = np.square(frames[-1][:, None, :, None] - arcs).sum(axis=2).min(axis=2)
colour = np.where(distance[:, 0] < distance[:, 1], "#0072B2", "#D55E00")
points = axes.scatter(*frames[0].T, s=1.6, c=colour, linewidths=0, alpha=0.7)
pause = 12


def draw(i: int) -> list[object]:
    """Show frame i; the last one stays for a moment."""
    points.set_offsets(frames[chosen[min(i, len(chosen) - 1)]])
    return [points]


animation = matplotlib.animation.FuncAnimation(figure, draw, frames=len(chosen) + pause)
animation.save(Path(__file__).parent / "moons.gif", writer=matplotlib.animation.PillowWriter(fps=14))
