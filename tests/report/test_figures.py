import inspect
import re

import numpy as np
import pytest
import torch
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure

from backwalk.assess.statistics import coverage_curve
from backwalk.diffusion import BoundTerms, NoiseSchedule, beta_variance
from backwalk.report import figures
from backwalk.report.style import svg
from backwalk.streams import Stream
from backwalk.table import Asinh

X = Stream(0).normal(0, 6000, 2).numpy()
SCHEDULE = NoiseSchedule.linear(100)


def terms(n_steps):
    steps = torch.linspace(0.0, 0.1, n_steps + 1, dtype=torch.float64)
    return BoundTerms(0.3, 0.01, steps, steps / 10, -1.0, 0.1, torch.linspace(0.0, 1.0, 50, dtype=torch.float64))


FIGURES = {
    "points": lambda: figures.plot_points(X, title="Points"),
    "side by side": lambda: figures.plot_side_by_side(X, X[:100] * 2),
    "marginal": lambda: figures.plot_marginal(X[:, 0], X[:, 1], label="height"),
    "points with heavy tails": lambda: figures.plot_points(np.sinh(4.0 * X), asinh=(Asinh(0.0, 0.3), None)),
    "marginal with heavy tails": lambda: figures.plot_marginal(np.sinh(4.0 * X[:, 0]), X[:, 1], asinh=Asinh(7.0, 0.3)),
    "constant marginal": lambda: figures.plot_marginal(np.ones(20), np.ones(20)),
    "loss": lambda: figures.plot_loss(range(50), np.exp(-np.arange(50.0))),
    "validation": lambda: figures.plot_loss(
        range(50), np.ones(50), validation_step=(10, 50), validation_loss=(2.0, 1.0), chosen_step=50
    ),
    "schedule": lambda: figures.plot_schedule(SCHEDULE, beta_variance(SCHEDULE)),
    "zero terminal SNR": lambda: figures.plot_schedule(NoiseSchedule(torch.tensor([torch.inf, 1.0, -torch.inf]))),
    "bound": lambda: figures.plot_bound(terms(20), entropy=0.2),
    "nats": lambda: figures.plot_nats(["ODE", "chain"], [(0.3, 0.01), (0.4, np.inf)], truth=(0.29, 0.001)),
    "excesses": lambda: figures.plot_nats(["a $b", "c"], [(0.01, 0.002), (np.inf, 1.0)], truth=(0.0, 0.0)),
    "no excess": lambda: figures.plot_nats(["a"], [(np.inf, 1.0)], truth=(0.0, 0.0)),
    "nats alone": lambda: figures.plot_nats(["one"], [(0.3, 0.01)]),
    "bound of many steps": lambda: figures.plot_bound(terms(1000)),
    "coverage": lambda: figures.plot_coverage(coverage_curve([0.1, 0.3, 0.9]), title="x"),
    "chain": lambda: figures.plot_chain([X, X * 0.5], captions=("t = 0", "t = 9")),
}


def test_the_user_s_settings_of_matplotlib_do_not_reach_them():
    """Found by review: with LaTeX for text, reports failed at their very end, and column names were LaTeX."""
    with rc_context():
        plain = svg(figures.plot_points(X, title="a_b ᾱ"))
        rcParams.update({"text.usetex": True, "savefig.bbox": "tight", "lines.linewidth": 9.0})
        assert svg(figures.plot_points(X, title="a_b ᾱ")) == plain


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_drawn_as_text(name):
    settings = dict(rcParams)
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    text = svg(figure)
    assert dict(rcParams) == settings
    assert text.startswith("<svg ")
    assert text.rstrip().endswith("</svg>")
    assert "<script" not in text
    assert not re.search(r"\bnan\b", re.sub(r'"data:[^"]*"', "", text), re.IGNORECASE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["points", "bound"])
def test_equal_figures_are_equal_text(name):
    assert svg(FIGURES[name]()) == svg(FIGURES[name]())


def test_functions_of_one_panel_draw_into_given_axes():
    """As scikit-learn's `plot(ax=...)`; those of several panels make their own."""
    several = {"plot_bound", "plot_chain", "plot_given", "plot_loss", "plot_number_with_atoms", "plot_schedule"}
    names = {name for name in figures.__all__ if name.startswith("plot_")}
    takes_ax = {name for name in names if "ax" in inspect.signature(getattr(figures, name)).parameters}
    assert takes_ax == names - several - {"plot_side_by_side"}
    whole = Figure()
    left, right = whole.subplots(1, 2)
    assert figures.plot_points(X, ax=left) is whole
    assert figures.plot_marginal(X[:, 0], X[:, 1], ax=right) is whole
    assert (len(left.collections), len(right.patches), len(whole.axes)) == (1, 2, 2)


def test_names_are_drawn_as_they_are_and_control_characters_as_escapes():
    text = svg(figures.plot_points(X, labels=("<b>cost</b> in $ \u202e", "a & b\x07")))
    assert r"&lt;b&gt;cost&lt;/b&gt; in $ \u202e" in text
    assert "a &amp; b" in text
    assert not re.search(r"[\u202e\x07]", text)
    assert len(text) < 200_000  # of many points
    assert "at N: 0.3475" in svg(figures.plot_signal(SCHEDULE))


def test_limits_hold_the_bulk_of_both_sets():
    left, right, bottom, top = figures.limits_of(X, X + 3.0)
    for x in (X, X + 3.0):
        inside = (x[:, 0] > left) & (x[:, 0] < right) & (x[:, 1] > bottom) & (x[:, 1] < top)
        assert inside.mean() > 0.99


@pytest.mark.parametrize("middle", [0.0, 1e6])
def test_axes_of_heavy_tails_are_even_in_their_decades(middle):
    tailed = np.column_stack([middle + np.sinh(6.0 * X[:, 0]), X[:, 1]])
    asinh = Asinh(middle, 1.0)
    limits = figures.limits_of(tailed, asinh=(asinh, None))
    assert limits[2:] == figures.limits_of(X)[2:]
    left, right = np.arcsinh(np.array(limits[:2]) - middle)
    margin = 0.06 / 1.12 * (right - left)
    place = np.arcsinh(tailed[:, 0] - middle)
    assert np.mean((place > left + margin) & (place < right - margin)) > 0.998
    (axes,) = figures.plot_points(tailed, asinh=(asinh, None)).axes
    ticks = axes.get_xticks() - middle
    assert 0.0 in ticks
    for side in (ticks[ticks > 0], -ticks[ticks < 0]):
        assert 2 <= len(side) <= 3
        np.testing.assert_allclose(np.log10(side), np.rint(np.log10(side)), atol=1e-6)
    at = axes.transAxes.inverted().transform(
        axes.transData.transform([(x, 0.0) for x in (limits[0], middle, limits[1])])
    )
    np.testing.assert_allclose(at[:, 0], [0.0, -left / (right - left), 1.0], atol=1e-6)


def test_telling_pairs_are_those_that_differ():
    x = Stream(1).normal(0, 4000, 4).numpy()
    y = Stream(2).normal(0, 4000, 4).numpy()
    y[:, 3] = 0.9 * y[:, 2] + 0.44 * y[:, 3]
    assert figures.telling_pairs(x, y, [0.5, 0.4, 0.0, 0.0]) == [(0, 1), (2, 3)]
    assert figures.telling_pairs(x[:, :2], y[:, :2], [0.1, 0.2]) == [(0, 1)]
    y[:, 1] = 0.0  # whole numbers of rare events, none of which was drawn: found by review, a warning
    assert figures.telling_pairs(x, y, [0.5, 0.4, 0.0, 0.0]) == [(0, 1), (2, 3)]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (18, 90), (-3, 4), (0, 10_000)])
def test_bins_of_integers_hold_equally_many_of_them(low, high):
    """Found by review: 72 ages in 50 bins made combs, which looked like the model's."""
    x = np.arange(low, high + 1).repeat(30)
    figure = figures.plot_marginal(x, x, integers=True)
    heights, edges = _outline(figure)
    assert (edges % 1 == 0.5).all()
    far = 0.001 * (high - low)  # a thousandth of the rows is left out on each side
    assert edges[0] <= low + far - 0.5
    assert edges[-1] >= high - far + 0.5
    assert len(heights) <= 60 or high - low < 60
    np.testing.assert_allclose(heights[:-1], heights[0], rtol=1e-6)
    curved = figures.plot_marginal(x, x, integers=True, asinh=Asinh(0.0, 1.0))
    assert (_outline(curved)[1] % 1 == 0.5).all()


def _outline(figure):
    """The heights of the filled histogram's bins, and their edges."""
    values = figure.axes[0].patches[0].get_data()
    return values.values, values.edges


def inside(figure):
    """Return whether all texts of a figure lie within it, as `savefig` draws it."""
    figure.draw_without_rendering()
    texts = [
        text for axes in figure.axes for text in (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label)
    ]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    width, height = figure.bbox.width, figure.bbox.height
    return all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)


LONG = "a title of many words that does not fit into one line of a panel as wide as this"


@pytest.mark.slow
@pytest.mark.parametrize("x", [X, X * [3.0, 1.0], X * [1.0, 2.0]], ids=["square", "wide", "tall"])
def test_titles_are_not_cut(x):
    """Found by users: titles of plot_chain and plot_side_by_side were cut in what savefig wrote."""
    assert inside(figures.plot_chain([x] * 5, captions=["t = 1000", "t = 5", "x_0, the data", LONG, ""]))
    assert inside(figures.plot_side_by_side(x, x, titles=("x_N, where the data end, with its noise", LONG)))
    assert inside(figures.plot_points(x, title=LONG, labels=(LONG, "y")))
    names = ["Probability-flow ODE", "chain"]
    assert inside(figures.plot_nats(names, [(0.3, 0.01), (0.4, 0.1)], truth=(0.28, 0.0), title="−log p, or its bound"))


def test_a_value_far_above_all_others_does_not_flatten_them():
    """Found by a user: the bound of beta_tilde, nats above all others, left these on one spot."""
    values = [(0.29, 0.01), (0.35, 0.01), (4.9, 0.1), (0.32, 0.01)]
    axes = figures.plot_nats("abcd", values, truth=(0.28, 0.0)).axes[0]
    assert axes.get_xlim()[1] < 0.5
    assert "beyond this axis" in axes.get_xlabel()
    assert [text.get_text() for text in axes.child_axes[0].get_yticklabels()] == ["0.290", "0.350", "4.900", "0.320"]
    even = figures.plot_nats("abc", [(0.1, 0.01), (0.2, 0.01), (0.4, 0.01)], truth=(0.0, 0.01)).axes[0]
    assert even.get_xlim()[1] > 0.4
    assert "beyond" not in even.get_xlabel()


def test_a_first_loss_far_above_the_others_leaves_the_axes():
    """Else these would be one flat line; a first loss that is kept stays in sight."""
    far = figures.plot_validation_loss(range(5), [24.0, 2.2, 2.1, 2.05, 2.0], chosen_step=4).axes[0]
    assert far.get_ylim() == pytest.approx((1.98, 2.3))
    on_decades = figures.plot_validation_loss(range(5), [1e4, 10.0, 0.01, 0.01, 0.01], chosen_step=4).axes[0]
    assert (on_decades.get_yscale(), on_decades.get_ylim()[0] > 0.001) == ("log", True)
    near = figures.plot_validation_loss(range(5), [1.9, 2.2, 2.1, 2.05, 2.0], chosen_step=0).axes[0]
    assert near.get_ylim()[0] < 1.9 < 2.2 < near.get_ylim()[1]
