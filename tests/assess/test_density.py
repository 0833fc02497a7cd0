"""Densities of unseen rows beside each other and the truth."""

import numpy as np
import pytest

from backwalk.assess.baselines import fit_baselines
from backwalk.estimator import Diffusion
from backwalk.model import log_density
from backwalk.streams import Stream

from .moons import MOONS, SMALL, UNSEEN, assessed

pytestmark = pytest.mark.usefixtures("cheap_scores")


def test_nats_add_up():
    fidelity = assessed()
    ours = fidelity.model
    assert ours.density_of == "ode"
    assert ours.negative_log_density.n == len(UNSEEN)
    assert ours.gap.value == pytest.approx(float((fidelity.density.log_p_true - fidelity.density.log_p_model).mean()))
    for baseline in fidelity.baselines:
        # All are means over the same rows, so differences of means are means of differences.
        expected = ours.negative_log_density.value - baseline.negative_log_density.value
        assert baseline.advantage.value == pytest.approx(expected, abs=1e-9)
        assert baseline.advantage.value == pytest.approx(ours.gap.value - baseline.gap.value, abs=1e-9)
    assert fidelity.density.entropy == MOONS.entropy
    assert fidelity.density.ode_probe_error == fidelity.density.entropy_standard_error == 0.0
    assert 0.0 < fidelity.density.ode_solver_error < 0.1


@pytest.mark.slow
def test_no_density_is_better_than_the_truth_of_whole_numbers():
    """By 5.73 standard errors of the mean: false alarm 1e-8."""
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.integers(0, 4, 900), rng.normal(size=900)])
    training, unseen = rows[:600], rows[600:]
    settings = {"n_steps": 20, "max_steps": 30, "denoiser": SMALL, "columns": {"x1": "integer"}}
    model = Diffusion(**settings, random_state=0, verbose=False).fit(training).model_
    densities = [log_p for _, log_p in fit_baselines(training, model, unseen, of_numbers=True, stream=Stream(0))]
    densities.append(log_density(model, unseen, n_intervals=4).log_prob.numpy())
    entropy = np.log(4.0) + 0.5 * np.log(2.0 * np.pi * np.e)
    for log_p in densities:
        assert -log_p.mean() > entropy - 5.73 * log_p.std() / len(unseen) ** 0.5
