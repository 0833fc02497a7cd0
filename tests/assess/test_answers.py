"""The answers for somebody who decides follow from the figures, whatever these are."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from backwalk.assess.answers import answer, what_rules_hold
from backwalk.assess.statistics import Figure
from backwalk.assess.statistics.membership import Found
from backwalk.assess.statistics.memorisation import RareCopies
from backwalk.assess.topics.closeness import C2ST, CORRELATIONS, COVERAGE, ENERGY, WORST_COLUMN
from backwalk.assess.topics.columns import AssociationScores, ColumnScores
from backwalk.assess.topics.membership import MembershipScores, MembershipTest
from backwalk.assess.topics.memorisation import MemorisationScores
from backwalk.assess.topics.rows import Impossible
from backwalk.estimates import Estimate
from backwalk.table.rule_system import Equation, RuleSystem

from .moons import assessed, fitted

pytestmark = pytest.mark.usefixtures("cheap_scores")

GOOD, FOR, REVEALS, NEXT = (
    "Is it good enough?",
    "For what?",
    "Does it give its training rows away?",
    "What to do next?",
)
NAMES = {C2ST: 0.5, CORRELATIONS: 0.0, COVERAGE: 0.9, ENERGY: 0.0, WORST_COLUMN: 0.02}


def figure(name, difference, error):
    unit = "accuracy" if name == C2ST else "share of real rows" if name == COVERAGE else "probability"
    return Figure(name, NAMES[name] + difference, error, NAMES[name], 0.001, difference, error, unit, 1000, 8)


def memory(share=0.5, gain=0.0):
    return MemorisationScores(Estimate(gain, 0.01, 400), Estimate(share, 0.01, 400), None)


def membership(area=0.5):
    found = Found(0.01, 0.005, 0.02, 0.01, 0.02)
    return MembershipScores((MembershipTest("ln p", Estimate(area, 0.01, 800), found),), 400, 400, 0, 0.541)


def answers(of=None, *, differences=(), error=0.001, columns=None, **changes):
    """Return the answers of a model without any difference, but for the given ones."""
    figures = tuple(figure(name, dict(differences).get(name, 0.0), error) for name in NAMES)
    fidelity = replace(
        assessed(),
        **{
            "model": replace(assessed().model, figures=figures, total_variation=None),
            "baselines": (),
            "columns": columns or ColumnScores((), ()),
            "memorisation": memory(),
            "membership": membership(),
            **changes,
        },
    )
    return {found.question: found.text for found in answer(fidelity, of or fitted())}


def baseline(advantage, name="Other"):
    figures = tuple(figure(name, 0.0, 0.001) for name in NAMES)
    return replace(
        assessed().baselines[0],
        name=name,
        figures=figures,
        advantage=Estimate(advantage, 0.01, 400),
        total_variation=None,
    )


@pytest.mark.slow
def test_a_model_without_a_difference_is_good_enough_for_all():
    found = answers()
    assert list(found) == [GOOD, FOR, REVEALS, NEXT]
    assert found[GOOD].startswith(
        "Yes, as far as 400 unseen rows show. A classifier tells its rows from real rows in 50.0"
    )
    assert "Not for" not in found[FOR]
    assert "single columns (Worst column), how columns go together (Correlations)" in found[FOR]
    assert found[NEXT] == "Use the model."


@pytest.mark.parametrize(
    ("name", "difference", "purpose", "against"),
    [
        (WORST_COLUMN, 0.03, "single columns", "Worst column: +0.0300 ± 0.0010"),
        (CORRELATIONS, 0.03, "how columns go together", "Correlations: +0.0300 ± 0.0010"),
        (C2ST, 0.03, "whole rows in the place of real ones", "C2ST, boosting: +3.00 ± 0.10 %"),
        (ENERGY, 0.03, "whole rows in the place of real ones", "Energy distance: +0.0300 ± 0.0010"),
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


def test_rules_are_said_to_hold_and_unseen_rows_that_break_them_are_counted():
    rules = RuleSystem(3, (Equation((2, 0, 1), (1.0, -1.0, -1.0)),), ((0, 1),), 1)
    model = SimpleNamespace(codec=SimpleNamespace(rules=rules), schema=SimpleNamespace(names=("a", "b", "c")))
    fidelity = assessed()
    words = what_rules_hold(fidelity, model).text
    assert words == f"Yes: every new row obeys c = a + b, a <= b. So do all {fidelity.checks.n_unseen:,} unseen rows."
    broken = replace(fidelity.checks, impossible=Impossible(2, (), ("a <= b (2)",)))
    words = what_rules_hold(replace(fidelity, checks=broken), model).text
    assert words.endswith(f"Unseen rows do not always: a <= b (2) of {fidelity.checks.n_unseen + 2:,} rows.")
    assert any("rules=None" in text for text in broken.warnings())
    model.codec.rules = None
    assert what_rules_hold(fidelity, model) is None


def test_rows_and_columns_that_both_fail_are_not_good_enough():
    found = answers(differences={WORST_COLUMN: 0.1, C2ST: 0.2, CORRELATIONS: 0.1, COVERAGE: -0.1})
    assert found[GOOD].startswith(
        "No, as far as 400 unseen rows show. A classifier tells its rows from real rows in 70.00 ± 0.10 % of cases"
    )
    assert found[FOR].startswith("For nothing yet. Not for ")


def test_what_a_warning_or_a_frame_says_speaks_against_a_use():
    column = Figure("height", 0.2, 0.001, 0.01, 0.001, 0.19, 0.001, "probability", 1000, 8)
    assert "single columns (see the warnings)" in answers(columns=ColumnScores((column,), ()))[FOR]
    matters, zeros = np.array([[False, True], [True, False]]), np.zeros((2, 2))
    framed = ColumnScores((), (), associations=AssociationScores(zeros, zeros, zeros, zeros, matters))
    assert "Not for how columns go together (associations of 1 pair of columns)" in answers(columns=framed)[FOR]


def test_probabilities_are_those_of_the_better_model():
    found = answers(baselines=(baseline(0.5),))
    assert "Not for probabilities of rows (Log-density: Other is better)" in found[FOR]
    assert found[NEXT].startswith("Use Other: it gives unseen rows 0.500 ± 0.010 nats per row more log-density")
    found = answers(baselines=(baseline(-0.5),))
    assert "probabilities of rows (Log-density)" in found[FOR]
    assert found[NEXT].startswith("Use the diffusion model: it gives unseen rows")
    assert "holds its training rows" in answers(baselines=(baseline(0.0, "KernelDensity(0.2)"),))[NEXT]


def test_what_is_given_away_has_its_null_and_its_power():
    found = answers()[REVEALS]
    assert found.startswith("No copies were found: 50.0 ± 1.0 % of generated rows")
    assert found.endswith("in 50.0 ± 1.0 % of cases (50 % is nothing, and these rows could have shown 54.1 %).")
    found = answers(memorisation=memory(0.58), membership=membership(0.53))
    assert found[REVEALS].startswith("It repeats training rows: 58.0 ± 1.0 % of generated rows")
    assert found[GOOD].startswith("For some uses")
    assert "Not for rows that are new (see the next answer)" in found[FOR]
    assert found[REVEALS].endswith("can tell a training row from another in 53.0 ± 1.0 % of cases (50 % is nothing).")
    assert "give the model away" in found[NEXT]
    rare = replace(memory(), rare_copies=RareCopies(0.05, 0.01, Estimate(0.04, 0.01, 400), 90))
    copied = "It repeats training rows: 4.0 ± 1.0 % more generated rows have a rare combination"
    assert answers(memorisation=rare)[REVEALS].startswith(copied)
    assert "private" not in " ".join(found.values()).lower()


def test_nothing_is_said_of_rows_that_were_not_given():
    checks = replace(assessed().checks, n_training=None, n_given=None)
    found = answers(memorisation=None, membership=None, checks=checks)
    assert found[REVEALS] == "Not known: the training rows were not given."
    assert found[NEXT].startswith("Give the training rows (--training FILE, or training=X)")
    other = answers(checks=replace(assessed().checks, is_other_training=True))
    assert "are not the rows of the fit" in other[REVEALS]


@pytest.mark.parametrize(("share", "is_known"), [(0.5, True), (0.51, False), (1.0, False)])
def test_rows_of_the_fit_say_nothing(share, is_known):
    found = answers(checks=replace(assessed().checks, copied_share=share), baselines=(baseline(0.5),))
    assert (FOR in found) is is_known
    if not is_known:
        assert found[GOOD].startswith(f"Not known: {share:.0%} of the scored rows are training rows")
        assert found[NEXT] == "Score rows that the fit never saw."


def test_more_training_is_not_advised_where_it_made_the_model_worse():
    for chosen, words in ((20, "A better fit takes more rows."), (60, "A better fit takes more training (max_steps")):
        model = replace(fitted(), history=replace(fitted().history, chosen_step=chosen))
        assert answers(model, differences={C2ST: 0.1})[NEXT].startswith(words)
