"""Old code beside new: what is paired, kept and written, and the data on which both run."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from benchmarks import compare, data, job

Z = stats.norm.isf(1e-8 / 2)  # false alarms: 1e-8 each


def result(c2st, nats, **more):
    return {"protocol": job.PROTOCOL, "C2ST to unseen rows": c2st, "nats": nats, **more}


def test_differences_are_paired_over_seeds_and_of_one_seed_over_rows():
    noise = np.random.default_rng(0).normal(size=50)
    old, new = noise.tolist(), (noise + 0.1).tolist()
    assert compare.difference([(old, new)])[2:] == pytest.approx((0.1, 0.0))
    assert compare.difference([(1.0, 1.3), (5.0, 5.1)]) == pytest.approx((3.0, 3.2, 0.2, 0.1))
    assert math.isnan(compare.difference([(1.0, 2.0)])[3])


def test_rows_that_one_code_calls_impossible_are_counted_and_left_out_of_the_mean():
    frame = compare.table([("300 steps", "a", result(0.8, [-1.0, -2.0]), result(0.9, [-1.5, -math.inf]))])
    of = frame.set_index("figure")
    assert of.loc["nats", ["old", "new"]].tolist() == [-1.0, -1.5]
    assert of.loc["impossible rows", ["old", "new"]].tolist() == [0.0, 0.5]


def test_means_over_entries_have_the_error_of_the_entries():
    pairs = [("b", entry, result(0.5, [0.0]), result(0.5 + x, [0.0])) for entry, x in (("a", 0.1), ("c", 0.3))]
    row = compare.table(pairs).query("entry == 'mean of 2' and figure == 'C2ST to unseen rows'").iloc[0]
    assert (row["difference"], row["error"]) == pytest.approx((0.2, 0.1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # tiny fits warn
@pytest.mark.parametrize("name", ["density of moons", "gaps of cancer", "posterior of linear"])
def test_an_entry_is_measured(name, monkeypatch):
    for size in ("N_OF_DENSITY", "N_UNSEEN", "N_TRAIN"):
        monkeypatch.setattr(job, size, 200)
    monkeypatch.setattr(job, "N_DRAWS", 50)
    found = job.ENTRIES[name](0, "3 steps")
    assert found["steps"] == 3
    assert np.isfinite([np.mean(value) for value in found.values()]).all()


def test_the_density_of_moons_sums_to_one():
    x = np.linspace(-1.75, 2.75, 91)  # steps of half the noise
    p = np.exp(data.log_p_moons(np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2))).reshape(91, 91)
    assert integrate.trapezoid(integrate.trapezoid(p, x), x) == pytest.approx(1.0, abs=1e-6)


def test_the_curve_has_the_entropy_of_its_noise():
    log_p = data.log_p_curve(data.curve(20_000, np.random.default_rng(0)))
    entropy = 2.5 * (1.0 + math.log(2.0 * math.pi)) + 4.0 * math.log(0.1)  # of which each row misses by chi-squares
    assert abs(-log_p.mean() - entropy) < Z * math.sqrt(2.5 / 20_000)


def test_crescents_have_the_radius_and_the_angles_of_their_likelihood():
    x = np.array([-0.3, 0.2])
    theta = data.exact_crescents(4_000, x, np.random.default_rng(1))
    assert (np.abs(theta) <= 1.0).all()
    along, across = theta.sum(axis=1) / np.sqrt(2.0), (theta[:, 1] - theta[:, 0]) / np.sqrt(2.0)
    u, v = x[0] + np.abs(along) - 0.25, x[1] - across
    assert stats.kstest(np.hypot(u, v), stats.norm(0.1, 0.01).cdf).pvalue > 1e-8
    assert stats.kstest(np.arctan2(v, u) / np.pi + 0.5, "uniform").pvalue > 1e-8
    assert abs(np.mean(along > 0.0) - 0.5) < Z * np.sqrt(0.25 / 4_000)


def test_exact_draws_of_linear_follow_the_prior():
    theta, x = data.linear(4_000, np.random.default_rng(0))
    again = data.exact_linear(4_000, x, np.random.default_rng(1))
    assert stats.kstest(again[:, 0], stats.norm(0.0, math.sqrt(0.1)).cdf).pvalue > 1e-8
    assert abs(np.mean(again[:, 0] * x[:, 0]) - np.mean(theta[:, 0] * x[:, 0])) < Z * 0.15 / math.sqrt(4_000)
