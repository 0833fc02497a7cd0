"""Too little memory: smaller pieces with the same bits, or a clear error, and never more than a file's size twice."""

from pathlib import Path

import numpy as np
import pytest

from backwalk import BackwalkError, Diffusion, Residual, Training
from soak.children import at_most, failures, forked, left
from soak.material import estimator, fitted, resident, rows

TOO_MUCH = (
    lambda: fitted().sample(10**13),
    lambda: fitted().sample(2**62),
    lambda: estimator(n_steps=10**9).fit(rows()),
    lambda: estimator(denoiser=Residual(width=60_000)).fit(rows()),
    lambda: estimator(training=Training(batch_size=10**10, learning_rate=0.1, max_steps=1), max_steps=None).fit(rows()),
)


def test_what_no_memory_is_enough_for_is_refused_soon():
    def case(ask):
        with pytest.raises(BackwalkError) as error:
            ask()
        assert any(word in str(error.value).lower() for word in ("memory", "should be")), str(error.value)

    assert not failures([lambda ask=ask: case(ask) for ask in TOO_MUCH], seconds=60.0)


@pytest.mark.cases(short=1, full=5)
def test_many_rows_in_little_memory_have_the_same_bits(case, tmp_path):
    """The activations of 200,000 rows at once would be 205 MB in each layer of this network."""
    model = estimator(denoiser=Residual(256, 1), random_state=case).fit(rows())
    path = tmp_path / "rows.npy"

    def work():
        at_most(256 * 2**20)
        np.save(path, model.sample(200_000, random_state=case, n_evaluations=2))

    assert left(forked(work, tmp_path / "log"), 120.0) == 0, (tmp_path / "log").read_text()[-300:]
    np.testing.assert_array_equal(np.load(path), model.sample(200_000, random_state=case, n_evaluations=2))


@pytest.mark.cases(short=1, full=4)
def test_loading_takes_at_most_twice_the_file(case, tmp_path):
    plan = Training(batch_size=64, learning_rate=1e-3, max_steps=1)  # without Muon, which takes minutes at such widths
    path = tmp_path / "large.backwalk"
    denoiser = Residual(1600 + 200 * case, 2)
    Diffusion(n_steps=5, training=plan, denoiser=denoiser, random_state=0, verbose=False).fit(rows()).save(path)

    def work():
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        Diffusion.load(path)
        print(resident("VmHWM") - before)

    assert left(forked(work, tmp_path / "log"), 60.0) == 0, (tmp_path / "log").read_text()[-300:]
    assert int((tmp_path / "log").read_text()) <= 2 * path.stat().st_size + 32 * 2**20
