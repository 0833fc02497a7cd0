"""Little memory: the same rows in smaller tiles, or an error that says so, and never more than a file's size twice."""

from pathlib import Path

import numpy as np
import pytest

from backwalk import BackwalkError, Diffusion, Residual, Training
from tests.trials.children import at_most, failures, forked, left, resident

pytestmark = pytest.mark.campaign


def test_what_no_memory_is_enough_for_is_refused_soon(fitted, rows):
    batch = Training(batch_size=10**10, learning_rate=0.1, max_steps=1)
    asked = [
        lambda: fitted.sample(10**13),
        lambda: Diffusion(10**9, max_steps=1, verbose=False).fit(rows),
        lambda: Diffusion(denoiser=Residual(width=60_000), max_steps=1, verbose=False).fit(rows),
        lambda: Diffusion(training=batch, verbose=False).fit(rows),
    ]

    def case(ask):
        with pytest.raises(BackwalkError) as error:
            ask()
        assert any(word in str(error.value).lower() for word in ("memory", "should be")), str(error.value)

    assert not failures([lambda ask=ask: case(ask) for ask in asked], seconds=60.0)


def test_many_rows_in_little_memory_are_the_same(rows, tmp_path):
    """The activations of 200,000 rows at once would be 205 MB in each layer of this network."""
    model = Diffusion(20, max_steps=5, denoiser=Residual(256, 1), random_state=0, verbose=False).fit(rows)

    def work():
        at_most(256 * 2**20)
        np.save(tmp_path / "rows.npy", model.sample(200_000, random_state=0, n_evaluations=2))

    assert left(forked(work, tmp_path / "log"), 240.0) == 0, (tmp_path / "log").read_text()[-300:]
    expected = model.sample(200_000, random_state=0, n_evaluations=2)
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), expected)


def test_loading_takes_at_most_twice_the_file(rows, tmp_path):
    plan, path = Training(batch_size=64, learning_rate=1e-3, max_steps=1), tmp_path / "large.backwalk"
    Diffusion(5, training=plan, denoiser=Residual(1600, 2), random_state=0, verbose=False).fit(rows).save(path)

    def work():
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        Diffusion.load(path)
        print(resident("VmHWM") - before)

    assert left(forked(work, tmp_path / "log"), 60.0) == 0, (tmp_path / "log").read_text()[-300:]
    assert int((tmp_path / "log").read_text()) <= 2 * path.stat().st_size + 32 * 2**20
