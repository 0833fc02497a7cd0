"""Known densities of mixed rows: draws, marginals and conditionals are of one distribution.

Marginals are compared with sums over levels and integrals over numbers of the joint density. Statistical tests have a
false-alarm rate of 1e-8 each.
"""

import itertools

import numpy as np
import pytest
from scipy import stats

from backwalk.datasets import MIXED_DENSITIES, Category, MixedDensity, Number, levels_alone, mixed_arcs, mixed_spikes
from backwalk.datasets.warps import Affine, Exponential, HyperbolicSine
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

ALARM = 1e-8
ARCS, SPIKES, LEVELS = mixed_arcs(n_hidden=3), mixed_spikes(n_levels=5), levels_alone(sizes=(3, 2, 4))
EXAMPLES = [ARCS, SPIKES, LEVELS]


def by_name(density):
    return density.name


@pytest.fixture(params=EXAMPLES, ids=by_name, scope="module")
def density(request):
    return request.param


def with_level(density, rows, place, level):
    """Rows with another level in a column; of a number with an atom only the atom is a value."""
    changed, column = rows.copy(), density.columns[place]
    changed[:, place] = level if isinstance(column, Category) else column.atom
    return changed


def integral(density, row, place):
    """The integral over a number of the joint density at one row, its atom included."""
    column, z = density.columns[place], np.linspace(-12.0, 12.0, 1501)
    x = column.f.forward(z)
    rows = np.repeat(row[None], len(x), axis=0)
    rows[:, place] = x + 1e-12 * (x == column.atom)  # a point of the grid at the atom is not the atom
    slope = np.exp(-column.f.inverse(x)[1])
    total = np.trapezoid(np.exp(density.log_prob(rows)) * slope, z)
    if column.atom is not None:
        total += float(np.exp(density.log_prob(with_level(density, row[None], place, 0)))[0])
    return total


def test_levels_alone_sum_to_one():
    rows = np.array(list(itertools.product(range(3), range(2), range(4))), dtype=float)
    p = np.exp(LEVELS.log_prob(rows))
    assert p.sum() == pytest.approx(1.0, abs=1e-13)
    assert LEVELS.entropy == pytest.approx(-(p * np.log(p)).sum(), abs=6 * LEVELS.entropy_standard_error)


@pytest.mark.parametrize("example", [ARCS, SPIKES], ids=by_name)
def test_a_number_integrates_out(example):
    rows = example.sample(3, random_state=1)
    for place in example.numbers:
        others = [name for j, name in enumerate(example.names) if j != place]
        expected = [integral(example, row, place) for row in rows]
        np.testing.assert_allclose(np.exp(example.marginal_log_prob(rows, others)), expected, rtol=1e-6)


def test_a_category_sums_out(density):
    rows = density.sample(50, random_state=2)
    for place in density.with_levels:
        if not isinstance(density.columns[place], Category):
            continue
        levels = range(len(density.labels(place)))
        joint = np.stack([density.log_prob(with_level(density, rows, place, level)) for level in levels], axis=1)
        total = np.logaddexp.reduce(joint, axis=1)
        name, others = density.names[place], [n for j, n in enumerate(density.names) if j != place]
        np.testing.assert_allclose(density.marginal_log_prob(rows, others), total, rtol=1e-10)
        np.testing.assert_allclose(density.level_log_probs(rows, name), joint - total[:, None], rtol=1e-8, atol=1e-10)


def test_the_chain_rule_holds(density):
    rows = density.sample(50, random_state=4)
    total = np.zeros(50)
    for j, name in enumerate(density.names):
        total += density.conditional_log_prob(rows, [name], given=density.names[:j])
    np.testing.assert_allclose(total, density.log_prob(rows), rtol=1e-9)
    np.testing.assert_allclose(density.marginal_log_prob(rows, []), 0.0, atol=1e-12)


def test_draws_have_the_levels_of_the_table(density):
    n = 20_000
    levels = density.levels(density.sample(n, random_state=5))
    table = density.table.sum(axis=-1)
    observed = np.bincount(np.ravel_multi_index(levels.T, table.shape), minlength=table.size)
    expected = n * table.ravel() / table.sum()
    large = expected >= 5.0
    observed, expected = (np.append(v[large], v[~large].sum() + 1e-3) for v in (observed, expected))
    assert ((observed - expected) ** 2 / expected).sum() < stats.chi2.isf(ALARM, len(expected) - 1)


@pytest.mark.parametrize("example", [ARCS, SPIKES], ids=by_name)
@pytest.mark.parametrize("given", ["nothing", "levels", "everything"])
def test_the_conditional_distribution_of_numbers_is_that_of_the_draws(example, given):
    rows = example.sample(2000, random_state=6)
    for place in example.numbers:
        column, name = example.columns[place], example.names[place]
        others = [n for n in example.names if n != name]
        of_levels = [example.names[j] for j in example.with_levels if j != place]
        known = {"nothing": [], "levels": of_levels, "everything": others}[given]
        u = example.conditional_cdf(rows, name, given=known)
        if column.atom is not None:  # the jump at the atom, spread evenly
            at_atom = rows[:, place] == column.atom
            jump = np.exp(example.level_log_probs(rows, name, given=known)[:, 0])
            u = u - at_atom * jump * Stream(7).uniform(0, len(rows), 1)[:, 0].numpy()
        assert stats.kstest(u, "uniform").pvalue > ALARM


def test_rows_do_not_depend_on_the_others(density):
    rows = density.sample(30, random_state=9)
    np.testing.assert_array_equal(density.sample(700, random_state=9)[:30], rows)
    np.testing.assert_allclose(density.log_prob(rows)[7:8], density.log_prob(rows[7:8]), rtol=1e-12)


@pytest.mark.parametrize("name", MIXED_DENSITIES)
def test_seeds_give_other_members_of_a_family(name):
    one, other = MIXED_DENSITIES[name](seed=1), MIXED_DENSITIES[name](seed=2)
    assert one.columns == other.columns
    rows = one.sample(100, random_state=0)
    assert not np.allclose(one.log_prob(rows), other.log_prob(rows))
    assert np.all(one.table > 0)


def test_frames_carry_rows_there_and_back(density):
    pytest.importorskip("pandas")
    rows = density.sample(20, random_state=11)
    frame = density.as_frame(rows)
    assert list(frame.columns) == list(density.names)
    np.testing.assert_array_equal(density.from_frame(frame), rows)
    place = density.with_levels[0]
    name = density.names[place]
    assert frame[name].tolist() == [density.labels(place)[int(code)] for code in rows[:, place]]
    with pytest.raises(InvalidInput, match=f"{name}.*'other'"):
        density.from_frame(frame.assign(**{name: "other"}))


@pytest.mark.parametrize("f", [Affine(3.0, 2.0), Exponential(5.0, 0.7), HyperbolicSine(2.0)], ids=repr)
def test_maps_and_their_inverses(f):
    z = np.linspace(-3.0, 3.0, 13)
    x = f.forward(z)
    back, log_slope = f.inverse(x)
    np.testing.assert_allclose(back, z, rtol=1e-12, atol=1e-12)
    slope = (f.inverse(x + 1e-6)[0] - f.inverse(x - 1e-6)[0]) / 2e-6
    np.testing.assert_allclose(np.exp(log_slope), slope, rtol=1e-5)


def test_numbers_outside_a_map_have_no_density():
    rows = ARCS.sample(3, random_state=12)
    rows[:, ARCS.names.index("cost")] = [-1.0, 0.0, 1.0]
    assert np.isfinite(ARCS.log_prob(rows)).tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: ARCS.marginal_log_prob(ARCS.sample(2, random_state=0), ["sun"]), "sun"),
        (lambda: ARCS.marginal_log_prob(ARCS.sample(2, random_state=0), ["x", "x"]), "different"),
        (lambda: ARCS.level_log_probs(ARCS.sample(2, random_state=0), "x"), "'x'"),
        (lambda: ARCS.level_log_probs(ARCS.sample(2, random_state=0), "plan", given=["plan"]), "'plan'"),
        (lambda: ARCS.conditional_cdf(ARCS.sample(2, random_state=0), "plan"), "'plan'"),
        (lambda: ARCS.log_prob(np.full((1, 7), 9.0)), "site"),
        (
            lambda: MixedDensity("bad", 1, (Number("x"),), np.ones((2, 1)), np.ones((2, 1, 1)), np.ones((2, 1, 1, 1))),
            "levels",
        ),
    ],
)
def test_what_does_not_fit_is_refused(ask, message):
    with pytest.raises(InvalidInput, match=message):
        ask()
