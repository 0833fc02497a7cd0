"""The warnings of an assessment: each has its cause, and small or unsure differences have none."""

import re
from types import SimpleNamespace

import pytest

from backwalk.assess.fidelity import collect_warnings
from backwalk.assess.statistics import Figure
from backwalk.assess.topics.closeness import C2ST
from backwalk.assess.topics.columns import ColumnScores
from backwalk.assess.topics.likelihood import LikelihoodScores
from backwalk.assess.topics.memorisation import MemorisationScores
from backwalk.assess.topics.rows import Impossible, RowChecks
from backwalk.diffusion import NoiseSchedule
from backwalk.estimates import Estimate

NO_GAIN, NO_COPIES = Estimate(0.0, 0.01, 1000), Estimate(0.5, 0.01, 1000)


def figure(value, error=0.001, name=C2ST, null=0.5, unit="accuracy"):
    return Figure(name, value, error, null, 0.001, value - null, error, unit, 10_000, 8)


def model(mismatch=0.0, n_steps=500, **card):
    return SimpleNamespace(
        schedule=NoiseSchedule.linear(100),
        schema=None,
        prior_mismatch=mismatch,
        card=card,
        history=SimpleNamespace(n_steps=n_steps),
    )


def collected(*, of=None, columns=(), share=NO_COPIES, gain=NO_GAIN, **checks):
    fitted = of or model()
    likelihood = SimpleNamespace(prior_mismatch=fitted.prior_mismatch)
    likelihood.warnings = lambda schedule: LikelihoodScores.warnings(likelihood, schedule)
    rows = RowChecks(**({"n_unseen": 10_000} | checks))
    memorisation = MemorisationScores(gain, share, None)
    return list(collect_warnings(fitted, rows, likelihood, memorisation, None, ColumnScores(columns, ()), None, None))


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
        ({"impossible": Impossible(3, ("s (3)",))}, "3 of 10,003 unseen rows"),
        ({"is_other_training": True}, "are not the rows of the fit"),
        ({"repeated": ("rain (0 in 62%)",)}, r"rain \(0 in 62%\)"),
        (
            {"columns": (figure(0.6, name="height"), figure(0.5, name="width"))},
            r"height \(0.1000 ± 0.0010\); in brackets",
        ),
    ],
)
def test_each_warning_has_its_cause(change, words):
    (warning,) = collected(**change)
    assert re.search(words, warning)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"impossible": Impossible()},
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
    assert collected(**change) == []
