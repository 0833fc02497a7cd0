"""A process that has used the library can fork one that uses it: no OpenMP threads begin in the caller's thread."""

import multiprocessing
import subprocess
import sys

import pytest

FORKS = """
import multiprocessing, numpy, torch, warnings
from backwalk import Diffusion
torch.set_num_threads(2)
X = numpy.random.default_rng(0).normal(size=(2000, 2))
wide = numpy.random.default_rng(0).normal(size=(5000, 8))  # enough numbers for a sum over rows to begin threads
def with_a_team():
    torch.ones(10**6).exp()  # waits for ever where OpenMP's threads began before the fork
def ddpm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Diffusion.ddpm(n_epochs=1, random_state=0, verbose=False).fit(X)
def fit(rows):
    return Diffusion(max_steps=3, random_state=0, verbose=False).fit(rows)
model = fit(X)
actions = {
    "fit": lambda: fit(wide),
    "bound": lambda: model.bound(X),
    "sample": lambda: model.sample(3000, n_evaluations=7, random_state=0),
    "ddpm": ddpm,
}
for name, action in actions.items():
    action()
    child = multiprocessing.get_context("fork").Process(target=with_a_team)
    child.start()
    child.join(20)
    print(name, child.exitcode)
    child.kill()
"""


@pytest.mark.slow
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_process_can_fork_after_every_use():
    """Found by attack and review: sums over all rows, and log, exp and sqrt of a schedule or of noise, began threads
    that no child has."""
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=True, timeout=240)
    assert done.stdout.splitlines() == ["fit 0", "bound 0", "sample 0", "ddpm 0"]
