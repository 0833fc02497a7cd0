from dataclasses import replace

import pytest

from backwalk.assess.fidelity import Contender
from backwalk.assess.statistics import C2ST
from backwalk.assess.verdict import verdict
from backwalk.assess.warnings import cautions
from backwalk.diffusion import NoiseSchedule
from backwalk.evaluation import Estimate, Figure


def figure(value, error=0.001, name=C2ST):
    return Figure(name, value, error, 0.5, 0.001, value - 0.5, error, "accuracy", 10_000, 8)


def contender(name, accuracy, advantage=None, seconds=1.0, density_of="exact", errors=(0.001, 0.002)):
    nats = Estimate(0.3, 0.02, 1000)
    own = None if advantage is None else Estimate(advantage, errors[1], 1000)
    accuracies = (figure(accuracy, errors[0]),)
    return Contender(name, accuracies, density_of, nats, own, None, None, seconds, 0.1, f"code of {name}")


MODEL = contender("Diffusion model", 0.52, seconds=40.0, density_of="ode")


@pytest.mark.parametrize(
    ("accuracy", "advantage", "winner", "words"),
    [
        (0.52, 0.0, "Rival", "no difference that matters from the diffusion model can be shown"),
        (0.52, 0.1, "Rival", "0.100 ± 0.002 nats per row more density than the diffusion model"),
        (0.51, 0.0, "Rival", "its rows are harder to tell from real ones"),
        (0.52, -0.1, "Diffusion model", "0.100 ± 0.002 nats per row more density than Rival"),
        (
            0.60,
            -0.1,
            "Diffusion model",
            "than Rival, the best baseline, and its rows are harder to tell from real ones",
        ),
        (0.52, -0.1, "Diffusion model", "than Rival, the best baseline. The"),
        (0.60, 0.0, "Diffusion model", "Use the diffusion model"),
        (0.60, 0.1, "Diffusion model", "To score rows, use Rival"),
        (0.51, -0.1, "Rival", "To score rows, use the diffusion model"),
    ],
)
def test_the_verdict_follows_the_figures(accuracy, advantage, winner, words):
    text, chosen = verdict(MODEL, (contender("Rival", accuracy, advantage),), None)
    assert chosen.name == winner
    assert words in text


def test_small_differences_do_not_count_however_sure():
    text, chosen = verdict(MODEL, (contender("Rival", 0.5205, -0.006),), None)
    assert chosen.name == "Rival"
    assert "no difference" in text


@pytest.mark.parametrize(
    ("advantage", "errors", "words"),
    [
        (0.1, (0.001, 0.051), "no difference that matters"),
        (0.1, (0.001, 0.049), "Use Rival: it gives unseen rows"),
        # Accuracies of .52 and .50, each with this error: the difference's is the square root of 2 times as large, and
        # with eight pairs 2.43 errors are what 2 are of a normal.
        (0.0, (0.0064, 0.002), "no difference that matters"),
        (0.0, (0.0052, 0.002), "Use Rival: its rows are harder to tell"),
    ],
    ids=["nats-unsure", "nats-sure", "rows-unsure", "rows-sure"],
)
def test_large_differences_count_only_where_they_are_sure(advantage, errors, words):
    """Found by review: no test would have missed the errors."""
    model = contender("Diffusion model", 0.52, seconds=40.0, density_of="ode", errors=errors)
    text, _ = verdict(model, (contender("Rival", 0.50 if not advantage else 0.52, advantage, errors=errors),), None)
    assert words in text


def test_the_rival_is_the_baseline_with_most_density():
    text, chosen = verdict(MODEL, (contender("Worse", 0.5, 0.1), contender("Better", 0.5, 0.2)), None)
    assert chosen.name == "Better"
    assert "40 times faster" in text


def test_the_gap_to_the_truth_is_told_where_the_truth_is_known():
    model = replace(MODEL, gap=Estimate(0.05, 0.002, 1000))
    rivals = (contender("Rival", 0.52, -0.1),)
    told = "Its gap to the true log-density, 0 at best, is 0.050 ± 0.002 nats per row."
    assert told in verdict(model, rivals, 0.3)[0]
    assert "gap to the true" not in verdict(model, rivals, None)[0]
    assert "gap to the true" not in verdict(MODEL, rivals, 0.3)[0]


def test_without_baselines_the_model_is_only_described():
    text, chosen = verdict(MODEL, (), None)
    assert chosen is MODEL
    assert text.endswith("No baseline was fitted beside it.")
    text, _ = verdict(MODEL, (), None, could_have_more=True)
    assert "No baseline was fitted beside it: for that, give the rows of the fit" in text


NOTEBOOK = NoiseSchedule.linear(100)
FINE = {
    "mismatch": 0.0,
    "columns": (),
    "share": None,
    "gain": None,
    "n_unseen": 10_000,
    "seen": False,
    "overlap": 0.0,
    "other_training": False,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mismatch": 0.0799}, "alpha_bar_N = 0.3475"),
        ({"mismatch": 0.0799}, "at least 0.080 nats"),
        ({"gain": Estimate(0.3, 0.02, 1000)}, "overfitted: its bound is 0.30 ± 0.02 nats"),
        ({"share": Estimate(0.7, 0.01, 1000)}, "repeats training rows"),
        ({"share": Estimate(0.7, 0.049, 1000)}, "repeats training rows"),
        ({"columns": (figure(0.54, error=0.01, name="height"),)}, "real ones in height"),  # 3.0 errors are asked for
        ({"n_unseen": 30}, "only 30 unseen rows"),
        ({"seen": True}, "by the very rows that it was fitted to"),
        ({"seen": True, "overlap": 1.0}, "by the very rows that it was fitted to"),
        ({"overlap": 0.25}, "25 % stand among the training rows too"),
        ({"other_training": True}, "not, number by number and in order, those"),
        ({"repeated": ["rain (0 in 62%)"]}, "One number stands in a third of the rows or more in rain (0 in 62%)."),
        (
            {"columns": (figure(0.6, name="height"), figure(0.5, name="width"))},
            "real ones in height (0.1000 ± 0.0010) (in brackets",
        ),
    ],
)
def test_each_warning_has_its_cause(change, words):
    (warning,) = cautions(NOTEBOOK, **(FINE | change))
    assert words in warning


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"n_impossible": 0},
        {"mismatch": 0.009},
        {"overlap": 0.01},
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
    assert list(cautions(NOTEBOOK, **(FINE | change))) == []
