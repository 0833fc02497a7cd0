"""What stands around training: the time that is left for it, what memory's end is called, and where warnings point."""

import itertools
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest

from backwalk.denoiser import Residual
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput, PriorMismatchWarning, RepeatedValueWarning
from backwalk.estimator import Diffusion
from backwalk.fitting import fit as module
from backwalk.training import Trainer


def tiny(**settings):
    given = {"n_steps": 10, "max_steps": 3, "denoiser": Residual(8, 1), "random_state": 0, "verbose": False}
    return Diffusion(**{**given, **settings})


# 7 s before; a look at 4 of 64 levels takes 1 s, and so what comes afterwards 16.
@pytest.mark.parametrize(("n_steps", "elsewhere"), [(1000, 9.0 + 16.0), (8, 9.0 + 2.0), (3, 9.0 + 1.0)])
def test_what_comes_before_and_after_training_is_counted(monkeypatch, n_steps, elsewhere):
    """Found by review: a short chain, which is measured at all of its steps, kept back six times what it took."""
    clock, asked = itertools.count(7.0), []
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    found = module._seconds_elsewhere(0.0, lambda n_levels: asked.append(n_levels), n_steps)
    assert found == elsewhere
    assert asked == [2, 4]


def test_a_fit_ends_by_the_clock(rows):
    model = Diffusion(max_time=0.3, denoiser=Residual(8, 1), random_state=0, verbose=False).fit(rows).model_
    assert model.history.n_steps < model.card["settings"]["training"]["max_steps"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: x")])
def test_memory_s_end_is_told_in_our_words(monkeypatch, rows, error):
    def run(trainer):
        raise error
        yield

    monkeypatch.setattr(Trainer, "run", run)
    with pytest.raises(InvalidInput, match="there is too little: give fewer rows"):
        tiny().fit(rows)


def test_other_errors_are_let_through_and_so_are_all_of_a_callback_s(monkeypatch, rows):
    """Found by review: a callback's MemoryError was called the fit's."""

    def fail(progress):
        raise MemoryError

    with pytest.raises(MemoryError):
        tiny(callbacks=[fail]).fit(rows)

    def run(trainer):
        raise RuntimeError("shapes differ")
        yield

    monkeypatch.setattr(Trainer, "run", run)
    with pytest.raises(RuntimeError, match="shapes differ"):
        tiny().fit(rows)


def test_warnings_point_at_the_caller_of_fit(rows):
    schedule = NoiseSchedule.linear(100, beta_min=1e-3, beta_max=0.02)
    with pytest.warns(PriorMismatchWarning) as caught:
        tiny(schedule=schedule, n_steps=None).fit(rows)
    assert [warning.filename for warning in caught] == [__file__]
    repeated = np.column_stack([np.where(np.arange(300) % 2 == 0, 0.0, rows[:, 0]), rows[:, 2]])
    with pytest.warns(RepeatedValueWarning) as caught:
        tiny().fit(repeated)
    assert [warning.filename for warning in caught] == [__file__]


FORKS = """
import multiprocessing, numpy, torch
from backwalk import Diffusion
torch.set_num_threads(2)
X = numpy.random.default_rng(0).normal(size=(5000, 8))
def fit(seed):
    return Diffusion(max_steps=5, random_state=seed, verbose=False).fit(X).sample(3000, random_state=0)
fit(0)
child = multiprocessing.get_context("fork").Process(target=fit, args=(1,))
child.start()
child.join(30)
print(child.exitcode)
child.kill()
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_process_that_has_fitted_can_fork_one_that_fits():
    """Found by review: sums over all rows began a team of OpenMP's threads, for which the child waited for ever."""
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["0"]
