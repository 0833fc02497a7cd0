"""The report on a table with levels, atoms and gaps."""

import re

import numpy as np
import pytest

from backwalk.assess import assess
from backwalk.assess.statistics.columns import LevelBands
from backwalk.model import walk
from backwalk.report import figures, render_report
from backwalk.report.sections.chain import chain_frames
from backwalk.streams import Stream

from ..assess.tables import frame, model, table
from ..assess.test_tables import cheap, with_gaps  # noqa: F401 - a fixture of this module, too


@pytest.fixture(scope="module")
def page(cheap):  # noqa: F811
    training, unseen = with_gaps(table(300, 1), 3), with_gaps(table(160, 2), 4)
    fidelity = assess(
        model(0.3), frame(unseen), training=frame(training), stream=Stream(0), n_pairs=2, target="flag", n_rows=80
    )
    return render_report(fidelity, model(), stream=Stream(1))


def test_the_sections_of_tables_are_there_in_order(page):
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    wanted = [
        "How close are generated rows to real rows?",
        "Do columns depend on each other as they should?",
        "How likely are unseen rows?",
        "Can its probabilities be trusted?",
        "What it draws given region",
        "Can generated rows teach to predict flag?",
        "Does it copy training rows?",
        "Can its training rows be recognised?",
    ]
    assert [heading for heading in headings if heading in wanted] == wanted


def test_columns_are_shown_by_their_kinds(page):
    for label in ("Levels of region", "Levels of flag", "Levels of grade", "Histograms of rain"):
        assert f'alt="{label}' in page
    for text in (
        "north",
        "True",
        "ln p(A, B)",
        "Of training rows",
        "have the gaps of random training rows",
        "Product mixture",
    ):
        assert text in page


def test_no_number_is_missing_on_the_page(page):
    text = re.sub(r"<[^>]*>|<script.*?</script>|<style.*?</style>", " ", page, flags=re.DOTALL)
    assert not re.search(r"\bnan\b|\bnone nats\b|\binf\b", text)


def test_points_bars_and_bands_are_where_the_shares_are():
    bands = LevelBands(*(np.array(pair) for pair in ([0.7, 0.3], [0.6, 0.4], [0.65, 0.25], [0.75, 0.35])))
    (axes,) = figures.plot_levels(bands, ["a", "b"]).axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([0.7, 0.3, 0.1, 0.1])
    assert axes.lines[0].get_xdata().tolist() == [0.6, 0.4]


def test_differences_that_matter_are_framed():
    matrix, matters = np.array([[1.0, -0.2], [-0.2, 1.0]]), np.array([[False, True], [True, False]])
    (axes,) = figures.plot_associations(matrix, ["a", "b"], matters=matters).axes
    assert sum(not patch.get_fill() for patch in axes.patches) == 2
    assert [text.get_text() for text in axes.texts] == ["−.20", "−.20"]


def test_frames_leave_out_rows_at_a_spike_in_both_directions():
    """Found by review: generated rows at a spike were points of pure noise."""
    frames, block = (
        chain_frames(model(), table(160, 2), Stream(1), columns=(1, 1), n_points=50),
        model().codec.blocks[1],
    )
    assert frames.forward.shape == frames.backward.shape
    *_, last = walk(model(), 0, 300, stream=Stream(1).child("backward"))
    off = last.x_t[last.x_t[:, block.coordinates.start + block.other] == 1.0]
    n = frames.backward.shape[1]
    assert 40 <= n <= 50
    np.testing.assert_allclose(frames.backward[0, :, 0], off[:n, block.number], atol=1e-5)
