"""Draw docs/pictures/chain.png: the chain forward, from two moons to noise, and backward, by a freshly fitted model."""

from pathlib import Path

from matplotlib.figure import Figure

from backwalk import Diffusion, NoiseSchedule
from backwalk.datasets import two_moons
from backwalk.diffusion import q_sample
from backwalk.model import walk
from backwalk.report.style import GENERATED, REAL
from backwalk.sampling import Sampler
from backwalk.streams import Stream

N, TIMES, N_ROWS = 100, (0, 10, 25, 50, 100), 2_000

X = two_moons().sample(10_000, random_state=0)
schedule = NoiseSchedule.cosine(N)
model = Diffusion(schedule=schedule, random_state=0).fit(X).model_
states = {state.t: state.x_t for state in walk(model, 0, N_ROWS, stream=Stream(1), sampler=Sampler("ancestral"))}
x_0 = states[0].new_tensor(model.codec.encode(X[:N_ROWS]))
forward = [
    q_sample(x_0, t, Stream(2).child(str(t)).normal(0, N_ROWS, 2).to(x_0), schedule) if t else x_0 for t in TIMES
]

figure = Figure(figsize=(9.0, 4.5), dpi=110, facecolor="white")
grid = figure.add_gridspec(2, len(TIMES), left=0.005, right=0.995, top=0.87, bottom=0.1, wspace=0.03, hspace=0.42)
for column, t in enumerate(TIMES):
    for row, (points, colour) in enumerate(((forward[column], REAL), (states[t], GENERATED))):
        axes = figure.add_subplot(grid[row, column], aspect="equal", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
        axes.scatter(*points.T, s=1.2, color=colour, linewidths=0, alpha=0.6)
        axes.set(xticks=[], yticks=[])
        what = {0: ("data", "generated")[row], N: "noise"}.get(t, "")
        axes.set_title(f"$x_{{{t}}}$ {what}", fontsize=11)
        for spine in axes.spines.values():
            spine.set_color("#cccccc")
for height, words in (
    (0.95, r"forward, left to right: $q(x_t\,|\,x_{t-1})$ adds a little noise in each of $N = 100$ steps"),
    (0.03, r"backward, right to left: $p_\theta(x_{t-1}\,|\,x_t)$, learned, takes it away"),
):
    figure.text(0.5, height, words, ha="center", va="center", fontsize=12)
figure.savefig(Path(__file__).parent / "chain.png")
