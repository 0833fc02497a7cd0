import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from backwalk.assess.fidelity import ModelScores, RowChecks
from backwalk.assess.margins import C2ST, COVERAGE, ENERGY, LOG_DENSITY, MARGINS, TOTAL_VARIATION, sign_that_matters
from backwalk.assess.statistics import Estimate, Figure
from backwalk.assess.verdict import verdict
from backwalk.assess.warnings import warnings_of
from backwalk.diffusion import NoiseSchedule


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
    text, chosen = verdict(MODEL, (scores("Other", accuracy, advantage),))
    assert chosen.name == winner
    assert words in text


def test_small_differences_do_not_count_however_sure():
    text, chosen = verdict(MODEL, (scores("Other", 0.5205, -0.006),))
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
    text, _ = verdict(model, (scores("Other", 0.50 if not advantage else 0.52, advantage, errors=errors),))
    assert words in text


def test_a_difference_that_a_table_shows_is_in_the_verdict():
    """Found by a user: "no difference that matters" beside total variations of .0577 +- .0018 and .0451 +- .0016."""
    model = replace(MODEL, total_variation=Estimate(0.0577, 0.0018, 1000))
    other = replace(scores("Other", 0.52, 0.0), total_variation=Estimate(0.0451, 0.0016, 1000))
    text, chosen = verdict(model, (other,))
    assert chosen is other
    assert "total variation 0.0451 ± 0.0016 against 0.0577 ± 0.0018" in text
    text, chosen = verdict(replace(model, total_variation=other.total_variation), (other,))
    assert "no statistic" in text
    # More log-density, but a larger total variation: the log-density decides, and the other is named.
    text, chosen = verdict(model, (replace(other, advantage=Estimate(-0.1, 0.01, 1000)),))
    assert chosen is model
    assert "Against this: Total variation (0.0451 ± 0.0016 against 0.0577 ± 0.0018)" in text


@pytest.mark.parametrize(("name", "ours", "others", "winner"), [(ENERGY, 0.1, 0.2, 0), (COVERAGE, 0.1, 0.2, 1)])
def test_every_statistic_has_its_direction(name, ours, others, winner):
    model, other = (
        replace(one, figures=(*one.figures, figure(value, name=name, null=0.0, unit="share")))
        for one, value in ((MODEL, ours), (scores("Other", 0.52, 0.0), others))
    )
    assert verdict(model, (other,))[1] is (model, other)[winner]


def test_margins_and_errors_decide_what_matters():
    for name, margin in MARGINS.items():
        assert sign_that_matters(name, 1.01 * margin, 0.1 * margin) == 1
        assert sign_that_matters(name, -1.01 * margin, 0.1 * margin) == -1
        assert sign_that_matters(name, 0.99 * margin, 0.1 * margin) == 0
        assert sign_that_matters(name, 2.3 * margin, margin) == 1
        assert sign_that_matters(name, 2.3 * margin, margin, n_pairs=8) == 0  # 2.43 errors by Student's t
    assert {LOG_DENSITY, TOTAL_VARIATION} < set(MARGINS)


def test_the_best_baseline_is_the_one_with_most_density():
    text, chosen = verdict(MODEL, (scores("Worse", 0.5, 0.1), scores("Better", 0.5, 0.2)))
    assert chosen.name == "Better"
    assert "40 times faster" in text


def test_the_gap_to_the_truth_stands_where_the_truth_is_known():
    model, others = replace(MODEL, gap=Estimate(0.05, 0.002, 1000)), (scores("Other", 0.52, -0.1),)
    assert "0.050 ± 0.002 nats per row below that of the true density" in verdict(model, others)[0]
    assert "true density" not in verdict(MODEL, others)[0]


def test_without_baselines_the_model_is_only_described():
    text, chosen = verdict(MODEL, ())
    assert chosen is MODEL
    assert text.endswith("No baseline was fitted for comparison.")
    assert "--training FILE" in verdict(MODEL, (), training_given=False)[0]


@pytest.mark.parametrize(("share", "withheld"), [(0.5, False), (0.51, True), (1.0, True)])
def test_there_is_no_verdict_on_training_rows(share, withheld):
    text, chosen = verdict(MODEL, (scores("Other", 0.5, 0.2),), share_of_fit=share)
    assert text.startswith(f"No verdict: {share:.0%}") is withheld
    assert (chosen is MODEL) is withheld


def model(mismatch=0.0, n_steps=500, **card):
    return SimpleNamespace(
        schedule=NoiseSchedule.linear(100),
        prior_mismatch=mismatch,
        card=card,
        history=SimpleNamespace(n_steps=n_steps),
    )


def found(*, of=None, columns=(), share=None, gain=None, **checks):
    return list(warnings_of(of or model(), columns, share, gain, RowChecks(**({"n_unseen": 10_000} | checks))))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"of": model(0.0799)}, "alpha_bar_N = 0.3475"),
        ({"of": model(0.0799)}, "at least 0.080 nats"),
        ({"of": model(stopped_by="time limit", usual_steps=1200)}, "after 500 of about 1,200 steps"),
        ({"gain": Estimate(0.3, 0.02, 1000)}, "overfitted.*0.30 ± 0.02 nats"),
        ({"share": Estimate(0.7, 0.01, 1000)}, "repeats training rows"),
        ({"share": Estimate(0.7, 0.049, 1000)}, "repeats training rows"),
        ({"columns": (figure(0.54, error=0.01, name="height"),)}, "height"),  # 3.0 errors are asked for
        ({"n_unseen": 30}, "only 30 unseen rows"),
        ({"is_of_fit": True}, "the rows that the model was fitted to"),
        ({"is_of_fit": True, "copied_share": 1.0}, "the rows that the model was fitted to"),
        ({"copied_share": 0.25}, "25%"),
        ({"n_impossible": 3}, "3 of 10,003 unseen rows"),
        ({"is_other_training": True}, "are not the rows of the fit"),
        ({"repeated": ("rain (0 in 62%)",)}, r"rain \(0 in 62%\)"),
        (
            {"columns": (figure(0.6, name="height"), figure(0.5, name="width"))},
            r"height \(0.1000 ± 0.0010\); in brackets",
        ),
    ],
)
def test_each_warning_has_its_cause(change, words):
    (warning,) = found(**change)
    assert re.search(words, warning)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"n_impossible": 0},
        {"of": model(0.009)},
        {"of": model(stopped_by="steps", usual_steps=1200)},
        {"of": model(stopped_by="time limit", usual_steps=800)},
        {"copied_share": 0.01},
        {"gain": Estimate(0.3, 0.1, 1000)},
        {"gain": Estimate(0.04, 0.001, 1000)},
        {"share": Estimate(0.54, 0.001, 1000)},
        {"share": Estimate(0.7, 0.051, 1000)},
        {"columns": (figure(0.505, error=0.0001, name="height"),)},
        # Eight pairs: 0.01 over 50 columns is a tail of 2e-4, for which Student's t asks for 6.1 errors.
        {"columns": (figure(0.54, error=0.01, name="height"), *(figure(0.5, name=f"x{j}") for j in range(49)))},
    ],
)
def test_what_is_small_or_unsure_is_not_warned_about(change):
    assert found(**change) == []
