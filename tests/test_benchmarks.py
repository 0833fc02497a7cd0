"""The benchmark's pieces run, and the notebook in it is the notebook. Times are never asserted."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from backwalk.diffusion import NoiseSchedule, beta_variance, mu_from_eps
from backwalk.evaluation import disjoint_pairs
from backwalk.streams import Stream

PATH = Path(__file__).parents[1] / "benchmarks" / "notebook.py"


@pytest.fixture(scope="module")
def benchmark_module():
    spec = importlib.util.spec_from_file_location("benchmarks_notebook", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def points(benchmark_module):
    return benchmark_module.notebook_points()


def test_notebook_records_the_first_loss_of_each_epoch_and_learns(benchmark_module, points):
    losses = benchmark_module.Notebook(points, seed=0).train(8)
    assert len(losses) == 8
    # An untrained network predicts about 0, so the loss starts at E|eps|^2 = 2.
    assert losses[0] == pytest.approx(2.0, abs=0.3)
    assert losses[-1] < 1.6


def test_notebook_repeats_and_leaves_global_random_state_alone(benchmark_module, points):
    before = torch.random.get_rng_state()
    first, second = (benchmark_module.Notebook(points, seed=1).train(2) for _ in range(2))
    assert first == second
    assert torch.equal(before, torch.random.get_rng_state())


def test_notebook_walks_back_by_the_formula_of_the_library(benchmark_module, points):
    model = benchmark_module.Notebook(points, seed=0)
    schedule = NoiseSchedule.linear(100, beta_min=0.001, beta_max=0.02)
    sigma = beta_variance(schedule).sqrt()
    generator = torch.Generator().manual_seed(0)  # the model's own, at the same place
    x = torch.randn(50, 2, generator=generator).double()
    for t in range(100, 0, -1):
        with torch.no_grad():
            eps = model.network(torch.cat([x.float(), torch.full((50, 1), t / 100)], dim=1)).double()
        x = mu_from_eps(x, eps, t, schedule)
        if t > 1:
            x = x + sigma[t] * torch.randn(50, 2, generator=generator)
    np.testing.assert_allclose(model.sample(50), x.numpy(), atol=1e-4)


def test_pieces_are_timed_in_turns_and_summed_up(benchmark_module, points):
    seconds = benchmark_module.time_in_turns(points, n_epochs=2, n_rounds=2, max_steps=2)
    assert {name: len(values) for name, values in seconds.items()} == {
        "notebook_epoch": 2,
        "indexed_epoch": 2,
        "ddpm_epoch": 2,
        "default_fit": 2,
    }
    assert all(value > 0 for values in seconds.values() for value in values)


def test_ratios_are_taken_round_by_round(benchmark_module):
    figures = benchmark_module.summary(
        {
            "notebook_epoch": [1.0, 2.0, 4.0],
            "indexed_epoch": [0.5, 1.0, 2.0],
            "ddpm_epoch": [1.0, 1.0, 1.0],
            "default_fit": [100.0, 10.0, 1000.0],
        }
    )
    assert figures["notebook_training"] == 10_000.0
    assert figures["notebook_epoch_over_ddpm_epoch"] == 2.0
    assert figures["notebook_training_over_default_fit"] == 50.0
    assert figures["indexed_training_over_default_fit"] == 25.0


def test_judge_tells_real_rows_from_shifted_ones(benchmark_module):
    rows = Stream(0).normal(0, 4_000, 2).numpy()
    pairs = disjoint_pairs(rows, 2, stream=Stream(1))
    fresh = Stream(2).normal(0, 2_000, 2).numpy()
    honest = benchmark_module.judge(lambda n: fresh[:n], pairs)
    shifted = benchmark_module.judge(lambda n: fresh[:n] + 1.0, pairs)
    assert honest["c2st_minus_real"] < 0.1 < shifted["c2st_minus_real"]
    assert honest["sliced_w1_over_real"] < 3.0 < shifted["sliced_w1_over_real"]


def test_command_prints_and_writes_its_record(benchmark_module, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark_module, "N_POINTS", 100)
    monkeypatch.setattr(benchmark_module, "N_EPOCHS", 2)
    monkeypatch.setattr(benchmark_module, "WARM_UP_EPOCHS", 1)
    fit = benchmark_module.fit_default
    monkeypatch.setattr(benchmark_module, "fit_default", lambda points, seed, **_: fit(points, max_steps=2, seed=seed))
    threads = torch.get_num_threads()
    options = ["--threads", "1", "--epochs", "1", "--rounds", "1", "--fits", "2", "--pairs", "2", "--full"]
    try:
        result = CliRunner().invoke(benchmark_module.main, [*options, "--json", str(tmp_path / "record.json")])
    finally:
        torch.set_num_threads(threads)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "record.json").read_text())
    assert set(record) == {"machine", "seconds", "summary", "quality"}
    assert set(record["quality"]) == {"Diffusion()", "Diffusion.ddpm()", "notebook"}
    assert record["machine"]["torch_threads"] == 1
    assert "Diffusion().fit" in result.output
