"""Figures are drawn as text, alike for equal input, whatever the user's settings of matplotlib."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure

from backwalk.diffusion import NoiseSchedule, beta_variance
from backwalk.report.axes import limits_of
from backwalk.report.calibration import plot_coverage, plot_ranks, plot_reliability
from backwalk.report.clouds import plot_chain, plot_points
from backwalk.report.columns import plot_associations, plot_levels, plot_marginal, plot_number_with_atoms
from backwalk.report.schedule import plot_log_snr, plot_noise, plot_signal
from backwalk.report.style import svg
from backwalk.report.training import plot_training_loss, plot_validation_loss
from backwalk.streams import Stream
from backwalk.table import Asinh

X = Stream(0).normal(0, 6000, 2).numpy()
LINE = np.linspace(0.0, 1.0, 11)
SCHEDULE = NoiseSchedule.linear(100)
NO_SIGNAL = NoiseSchedule(torch.tensor([torch.inf, 1.0, -torch.inf]))
FIGURES = {
    "points": partial(plot_points, X, title="Points"),
    "points with heavy tails": partial(plot_points, np.sinh(4.0 * X), asinh=(Asinh(0.0, 0.3), None)),
    "chain": partial(plot_chain, [X, X * 0.5], captions=("t = 0", "t = 9")),
    "marginal": partial(plot_marginal, X[:, 0], X[:, 1], label="height"),
    "marginal with heavy tails": partial(plot_marginal, np.sinh(4.0 * X[:, 0]), X[:, 1], asinh=Asinh(7.0, 0.3)),
    "constant marginal": partial(plot_marginal, np.ones(20), np.ones(20)),
    "atoms": partial(plot_number_with_atoms, np.maximum(X[:, 0], 0.0), np.maximum(X[:, 1], 0.0), (0.0,)),
    "levels": partial(plot_levels, LINE[:3], LINE[:3], LINE[:3], LINE[1:4], ["a", "b", "$c"]),
    "associations": partial(plot_associations, np.array([[1.0, -0.2], [-0.2, 1.0]]), ["a", "b"]),
    "ranks": partial(plot_ranks, np.full(10, 0.1), 0.05, 0.15),
    "reliability": partial(plot_reliability, LINE, LINE**2, LINE - 0.1, LINE + 0.1),
    "coverage": partial(plot_coverage, LINE, LINE**2, LINE - 0.1, LINE + 0.1, title="x"),
    "loss": partial(plot_training_loss, range(50), np.exp(-np.arange(50.0))),
    "validation": partial(plot_validation_loss, (10, 50), (2.0, 1.0), chosen_step=50),
    "signal": partial(plot_signal, SCHEDULE),
    "noise": partial(plot_noise, SCHEDULE, beta_variance(SCHEDULE)),
    "log-SNR": partial(plot_log_snr, SCHEDULE),
    "no signal at the end": partial(plot_log_snr, NO_SIGNAL),
}


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


def test_the_user_s_settings_of_matplotlib_do_not_reach_them():
    with rc_context():
        plain = svg(plot_points(X, title="a_b ᾱ"))
        rcParams.update({"text.usetex": True, "savefig.bbox": "tight", "lines.linewidth": 9.0})
        assert svg(plot_points(X, title="a_b ᾱ")) == plain


def test_names_are_drawn_as_they_are_and_control_characters_as_escapes():
    text = svg(plot_points(X, labels=("<b>cost</b> in $ \u202e", "a & b\x07")))
    assert r"&lt;b&gt;cost&lt;/b&gt; in $ \u202e" in text
    assert "a &amp; b" in text
    assert not re.search(r"[\u202e\x07]", text)
    assert len(text) < 200_000  # of many points


@pytest.mark.parametrize("middle", [0.0, 1e6])
def test_axes_hold_the_bulk_of_the_rows_and_those_of_heavy_tails_are_even_in_their_decades(middle):
    tailed = np.column_stack([middle + np.sinh(6.0 * X[:, 0]), X[:, 1]])
    limits = limits_of(tailed, asinh=(Asinh(middle, 1.0), None))
    for column, (low, high) in enumerate((limits[:2], limits[2:])):
        assert np.mean((tailed[:, column] > low) & (tailed[:, column] < high)) > 0.998
    (axes,) = plot_points(tailed, asinh=(Asinh(middle, 1.0), None)).axes
    ticks = axes.get_xticks() - middle
    assert 0.0 in ticks
    for side in (ticks[ticks > 0], -ticks[ticks < 0]):
        assert 2 <= len(side) <= 3
        np.testing.assert_allclose(np.log10(side), np.rint(np.log10(side)), atol=1e-6)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (18, 90), (-3, 4), (0, 10_000)])
def test_bins_of_integers_hold_equally_many_of_them(low, high):
    x = np.arange(low, high + 1).repeat(30)
    (axes,) = plot_marginal(x, x, integers=True).axes
    values = axes.patches[0].get_data()
    heights, edges = values.values, values.edges
    assert (edges % 1 == 0.5).all()
    far = 0.001 * (high - low)  # a thousandth of the rows is left out on each side
    assert edges[0] <= low + far - 0.5
    assert edges[-1] >= high - far + 0.5
    np.testing.assert_allclose(heights[:-1], heights[0], rtol=1e-6)


LONG = "a title of many words that does not fit into one line of a panel as wide as this"


@pytest.mark.slow
@pytest.mark.parametrize("x", [X, X * [3.0, 1.0], X * [1.0, 2.0]], ids=["square", "wide", "tall"])
def test_titles_are_not_cut(x):
    for figure in (
        plot_chain([x] * 3, captions=["t = 1000", LONG, ""]),
        plot_points(x, title=LONG, labels=(LONG, "y")),
    ):
        figure.draw_without_rendering()
        texts = [
            text for axes in figure.axes for text in (axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label)
        ]
        for box in (text.get_window_extent() for text in texts if text.get_text()):
            assert min(box.x0, box.y0) >= 0
            assert box.x1 <= figure.bbox.width
            assert box.y1 <= figure.bbox.height
