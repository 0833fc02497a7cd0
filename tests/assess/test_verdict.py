from dataclasses import replace

import pytest

from backwalk.assess.fidelity import ModelScores
from backwalk.assess.statistics import Figure
from backwalk.assess.topics.closeness import C2ST, COVERAGE, ENERGY
from backwalk.assess.verdict import decide
from backwalk.estimates import Estimate


def figure(value, error=0.001, name=C2ST, null=0.5, unit="accuracy"):
    return Figure(name, value, error, null, 0.001, value - null, error, unit, 10_000, 8)


def scores(name, accuracy, advantage=None, seconds=1.0, density_of="exact", errors=(0.001, 0.002)):
    nats = Estimate(0.3, 0.02, 1000)
    own = None if advantage is None else Estimate(advantage, errors[1], 1000)
    accuracies = (figure(accuracy, errors[0]),)
    return ModelScores(name, accuracies, density_of, nats, own, None, None, seconds, 0.1, f"code of {name}")


MODEL = scores("Diffusion model", 0.52, seconds=40.0, density_of="ode")


@pytest.mark.parametrize(
    ("accuracy", "advantage", "winner", "words"),
    [
        (0.52, 0.0, "Other", "no statistic in this report shows a difference that matters"),
        (0.52, 0.1, "Other", "0.100 ± 0.002 nats per row more log-density than the diffusion model"),
        (0.51, 0.0, "Other", "its rows are harder to tell from real rows than those of the diffusion model"),
        (0.52, -0.1, "Diffusion model", "0.100 ± 0.002 nats per row more log-density than Other"),
        (0.60, -0.1, "Diffusion model", "than Other, and its rows are harder to tell from real rows"),
        (0.60, 0.0, "Diffusion model", "Use the diffusion model"),
        (0.60, 0.1, "Diffusion model", "To score rows, use Other"),
        (0.51, -0.1, "Other", "To score rows, use the diffusion model"),
    ],
)
def test_the_verdict_follows_the_figures(accuracy, advantage, winner, words):
    text, chosen = decide(MODEL, (scores("Other", accuracy, advantage),))
    assert chosen.name == winner
    assert words in text


def test_small_differences_do_not_count_however_sure():
    text, chosen = decide(MODEL, (scores("Other", 0.5205, -0.006),))
    assert chosen.name == "Other"
    assert "no statistic" in text


@pytest.mark.parametrize(
    ("advantage", "errors", "words"),
    [
        (0.1, (0.001, 0.051), "no statistic"),
        (0.1, (0.001, 0.049), "Use Other: it gives unseen rows"),
        # Accuracies of .52 and .50, each with this error: the difference's is the square root of 2 times as large, and
        # with eight pairs 2.43 errors are what 2 are of a normal.
        (0.0, (0.0064, 0.002), "no statistic"),
        (0.0, (0.0052, 0.002), "Use Other: its rows are harder to tell"),
    ],
    ids=["nats-unsure", "nats-sure", "rows-unsure", "rows-sure"],
)
def test_large_differences_count_only_where_they_are_sure(advantage, errors, words):
    """Found by review: no test would have missed the errors."""
    model = scores("Diffusion model", 0.52, seconds=40.0, density_of="ode", errors=errors)
    text, _ = decide(model, (scores("Other", 0.50 if not advantage else 0.52, advantage, errors=errors),))
    assert words in text


def test_a_difference_that_a_table_shows_is_in_the_verdict():
    """Found by a user: "no difference that matters" beside total variations of .0577 +- .0018 and .0451 +- .0016."""
    model = replace(MODEL, total_variation=Estimate(0.0577, 0.0018, 1000))
    other = replace(scores("Other", 0.52, 0.0), total_variation=Estimate(0.0451, 0.0016, 1000))
    text, chosen = decide(model, (other,))
    assert chosen is other
    assert "total variation 0.0451 ± 0.0016 against 0.0577 ± 0.0018" in text
    text, chosen = decide(replace(model, total_variation=other.total_variation), (other,))
    assert "no statistic" in text
    # More log-density, but a larger total variation: the log-density decides, and the other is named.
    text, chosen = decide(model, (replace(other, advantage=Estimate(-0.1, 0.01, 1000)),))
    assert chosen is model
    assert "Against this: Total variation (0.0451 ± 0.0016 against 0.0577 ± 0.0018)" in text


@pytest.mark.parametrize(("name", "ours", "others", "winner"), [(ENERGY, 0.1, 0.2, 0), (COVERAGE, 0.1, 0.2, 1)])
def test_every_statistic_has_its_direction(name, ours, others, winner):
    model, other = (
        replace(one, figures=(*one.figures, figure(value, name=name, null=0.0, unit="share")))
        for one, value in ((MODEL, ours), (scores("Other", 0.52, 0.0), others))
    )
    assert decide(model, (other,))[1] is (model, other)[winner]


def test_the_best_baseline_is_the_one_with_most_density():
    text, chosen = decide(MODEL, (scores("Worse", 0.5, 0.1), scores("Better", 0.5, 0.2)))
    assert chosen.name == "Better"
    assert "40 times faster" in text
