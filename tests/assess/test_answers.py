"""The answers for somebody who decides follow from the figures, whatever these are."""

from dataclasses import replace

import pytest

from backwalk.assess.answers import answer
from backwalk.assess.columns import ASSOCIATIONS, SINGLE, TOGETHER, WORST_COLUMN
from backwalk.assess.copies import CopyScores, MembershipTest
from backwalk.assess.rows import C2ST, COVERAGE, WASSERSTEIN
from backwalk.assess.statistics import Figure
from backwalk.assess.verdict import decide
from backwalk.estimates import Estimate

from .moons import assessed, fitted

pytestmark = pytest.mark.usefixtures("cheap_scores")

GOOD, FOR, REVEALS, NEXT = (
    "Is it good enough?",
    "For what?",
    "Does it reveal its training rows?",
    "What to do next?",
)
ROWS = "whole rows in the place of real ones"
NAMES = {  # the null and the purpose
    C2ST: (0.5, ROWS),
    WASSERSTEIN: (0.02, ROWS),
    COVERAGE: (0.9, "rare kinds of rows"),
    WORST_COLUMN: (0.02, SINGLE),
    ASSOCIATIONS: (0.02, TOGETHER),
}


def figure(name, difference, error):
    unit = "accuracy" if name == C2ST else "share of real rows" if name == COVERAGE else "probability"
    null, purpose = NAMES[name]
    return Figure(
        name,
        null + difference,
        error,
        null,
        0.001,
        difference,
        error,
        unit,
        1000,
        8,
        margin=0.003 if name == C2ST else 0.01,
        more_is_better=name == COVERAGE,
        purpose=purpose,
    )


def copies(share=0.5, area=0.5):
    return CopyScores(
        Estimate(share, 0.01, 400), (MembershipTest("ln p", Estimate(area, 0.01, 800)),), 400, 400, 0, 0.541
    )


def answers(of=None, *, differences=(), error=0.001, **changes):
    """Return the answers of a model without any difference, but for the given ones."""
    figures = tuple(figure(name, dict(differences).get(name, 0.0), error) for name in NAMES)
    columns = replace(assessed().columns, figures=(), associations=None)
    fidelity = replace(
        assessed(),
        **{
            "model": replace(assessed().model, figures=figures),
            "baselines": (),
            "columns": columns,
            "copies": copies(),
            **changes,
        },
    )
    return {found.question: found.text for found in answer(fidelity, of or fitted())}


def baseline(advantage, name="Other", differences=()):
    figures = tuple(figure(each, dict(differences).get(each, 0.0), 0.001) for each in NAMES)
    return replace(assessed().baselines[0], name=name, figures=figures, advantage=Estimate(advantage, 0.01, 400))


@pytest.mark.parametrize(
    ("name", "difference", "purpose", "against"),
    [
        (WORST_COLUMN, 0.03, SINGLE, "Worst column: +0.0300 ± 0.0010"),
        (ASSOCIATIONS, 0.03, TOGETHER, "Associations: +0.0300 ± 0.0010"),
        (C2ST, 0.03, ROWS, "C2ST, boosting: +3.00 ± 0.10 %"),
        (WASSERSTEIN, 0.03, ROWS, "Sliced Wasserstein: +0.0300 ± 0.0010"),
        (COVERAGE, -0.03, "rare kinds of rows", "Coverage: −3.00 ± 0.10 %"),
    ],
)
def test_a_use_fails_where_its_figure_s_difference_matters(name, difference, purpose, against):
    found = answers(differences={name: difference})
    assert found[GOOD].startswith("For some uses, as far as 400 unseen rows show. ")
    assert f"Not for {purpose} ({against})." in found[FOR]
    assert "A better fit takes" in found[NEXT]
    # In the other direction, below the margin, or below 2.43 errors of eight pairs, it does not.
    for change in ({name: -difference}, {name: difference / 30}):
        assert answers(differences=change)[GOOD].startswith("Yes")
    assert answers(differences={name: difference}, error=0.0125)[GOOD].startswith("Yes")


def test_probabilities_are_those_of_the_better_model():
    found = answers(baselines=(baseline(0.5),))
    assert "Not for probabilities of rows (Log-density: Other is better)" in found[FOR]
    assert found[NEXT].startswith("Use Other: it gives unseen rows 0.500 ± 0.010 nats per row more log-density")
    found = answers(baselines=(baseline(-0.5),))
    assert "probabilities of rows (Log-density)" in found[FOR]
    assert found[NEXT].startswith("Use the diffusion model: it gives unseen rows")
    assert "holds its training rows" in answers(baselines=(baseline(0.0, "KernelDensity(0.2)"),))[NEXT]


@pytest.mark.parametrize(("share", "is_known"), [(0.5, True), (0.51, False), (1.0, False)])
def test_rows_of_the_fit_say_nothing(share, is_known):
    found = answers(checks=replace(assessed().checks, copied_share=share), baselines=(baseline(0.5),))
    assert (FOR in found) is is_known
    if not is_known:
        assert found[GOOD].startswith(f"Not known: {share:.0%} of the scored rows are training rows")
        assert found[NEXT] == "Score rows that the fit never saw."


def verdict(advantage, model=(), other=()):
    figures = tuple(figure(name, dict(model).get(name, 0.0), 0.001) for name in NAMES)
    ours = replace(assessed().model, figures=figures)
    return decide(ours, (baseline(advantage - 1.0, "Worse"), baseline(advantage, "Other", other)))


def test_the_first_difference_that_matters_decides_and_the_others_are_named():
    words, chosen = verdict(0.0)
    assert (chosen.name, words[:10]) == ("Other", "Use Other,")  # the simpler one
    words, chosen = verdict(-0.5, model={C2ST: 0.03, WASSERSTEIN: -0.05})
    assert chosen.name == "Other"
    assert words.startswith("To draw rows, use Other: its rows are harder to tell from real rows")
    assert "To score rows, use the diffusion model: it gives unseen rows 0.500" in words
    assert "Against this: Sliced Wasserstein (" in words
    words, chosen = verdict(-0.5, other={COVERAGE: -0.05})
    assert chosen.name == "Diffusion model"
    assert "coverage 90.00 ± 0.10 % against 85.00 ± 0.10 %" in words
