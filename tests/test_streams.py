"""Streams: rows are addressed, paths are independent, and the distributions are what they say.

Every statistical test has a false-alarm rate of 1e-8.
"""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from backwalk.errors import InvalidInput
from backwalk.streams import Stream, as_stream

STREAM = Stream(5).child("test")
ALARM = 1e-8
Z = stats.norm.isf(ALARM / 2)


@pytest.mark.parametrize("d", [1, 2, 3, 7])
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 50), (3, 4), (17, 33), (50, 50), (2**40, 2**40 + 5)])
def test_rows_are_the_same_in_whatever_range_they_are_drawn(start, stop, d):
    first = start - start % 7
    for draw in (
        STREAM.uniform,
        STREAM.normal,
        lambda start, stop, d: STREAM.normal(start, stop, d, torch.float32),
    ):
        got, longer = draw(start, stop, d), draw(first, stop + 9, d)
        assert got.shape == (stop - start, d)
        assert torch.equal(got, longer[start - first : stop - first])


@pytest.mark.parametrize("d", [0, 1, 3, 4])
def test_some_rows_in_any_order_are_those_of_their_range(d):
    rows = np.array([7, 3, 3, 0, 900, 901, 2**50 + 6, 2**50 + 4, 8, 2**62])
    for draw, of_range in ((STREAM.uniform_of_rows, STREAM.uniform), (STREAM.normal_of_rows, STREAM.normal)):
        assert torch.equal(draw(rows, d), torch.cat([of_range(row, row + 1, d) for row in rows.tolist()]))
        assert torch.equal(draw(np.arange(5, 40), d), of_range(5, 40, d))
        assert draw(rows[:0], d).shape == (0, d)


def test_bits_stay_what_they_are():
    """Seeds in people's notes stand for these numbers."""
    assert STREAM.integer() == 136742756
    np.testing.assert_allclose(
        STREAM.normal(1, 2, 3).numpy(), [[0.801178448497, -0.029344151613, 1.345647648835]], rtol=1e-10
    )


def test_other_seeds_and_paths_give_other_numbers():
    streams = [
        Stream(0),
        Stream(1),
        Stream(0).child("a"),
        Stream(0).child("a", "b"),
        Stream(0).child("b", "a"),
        Stream(0).child("a/b"),
        Stream(0).child("a/str:b"),
        Stream(0).child("a/"),
        Stream(0).child("a", "/"),
        Stream(0).child(3),
        Stream(0).child("3"),
    ]
    assert len({float(stream.uniform(0, 1, 1)) for stream in streams}) == len(streams)
    assert Stream(0).child("a").child("b") == Stream(0).child("a", "b")


def test_numpy_s_names_are_python_s():
    ours = Stream(0).child("step", 3)
    for other in (Stream(0).child("step", np.int64(3)), Stream(0).child(np.str_("step"), np.uint8(3))):
        assert other == ours
        assert torch.equal(other.uniform(0, 3, 2), ours.uniform(0, 3, 2))


@pytest.mark.parametrize("other", [Stream(6).child("test"), Stream(5).child("test", 0), Stream(5)])
def test_streams_are_uncorrelated(other):
    n = 50_000
    one, two = STREAM.normal(0, n, 2).numpy(), other.normal(0, n, 2).numpy()
    for i in range(2):
        for j in range(2):
            assert abs(one[:, i] @ two[:, j]) < Z * math.sqrt(n)


@pytest.mark.parametrize("d", [1, 3])
def test_uniform_is_uniform(d):
    n = 60_000
    x = STREAM.uniform(0, n, d).numpy()
    assert x.min() > 0
    assert x.max() < 1
    counts = np.histogram(x, bins=128, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > ALARM
    assert abs(x.mean() - 0.5) < Z * math.sqrt(1 / 12 / x.size)
    lag = (x[1:, 0] - 0.5) @ (x[:-1, 0] - 0.5)
    assert abs(lag) < Z * math.sqrt(n) / 12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_normal_is_standard_normal(d, dtype):
    n = 60_000
    drawn = STREAM.normal(0, n, d, dtype)
    assert drawn.dtype == dtype
    x = drawn.double().numpy()
    edges = stats.norm.ppf(np.linspace(0, 1, 129))
    for j in range(d):
        assert stats.chisquare(np.histogram(x[:, j], bins=edges)[0]).pvalue > ALARM
    assert stats.chi2.sf(n * np.square(x.mean(0)).sum(), d) > ALARM
    squares = np.square(x).sum()
    assert min(stats.chi2.sf(squares, n * d), stats.chi2.cdf(squares, n * d)) > ALARM / 2
    # The two normals made of one word are independent: neither they nor their squares are correlated.
    for y in (x, (np.square(x) - 1) / math.sqrt(2)):
        products = y[:, 0] * y[:, -1] if d > 1 else y[1:, 0] * y[:-1, 0]
        assert abs(products.sum()) < Z * math.sqrt(np.square(products).sum())


class _Extreme(Stream):
    def _words(self, runs, per_row):
        words = np.array([0, 2**64 - 1, 2**32 - 1, 2**64 - 2**32], dtype=np.uint64)
        return np.resize(words, (sum(stop - start for start, stop in runs), per_row))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_extreme_words_give_finite_numbers(dtype):
    x = _Extreme(0).uniform(0, 4, 1)
    assert float(x.min()) > 0
    assert float(x.max()) < 1
    normal = _Extreme(0).normal(0, 4, 2, dtype)
    assert bool(normal.isfinite().all())
    assert 6.7 < float(normal.abs().max()) < 6.8


def test_permutation_and_integer_repeat():
    np.testing.assert_array_equal(np.sort(STREAM.permutation(50)), np.arange(50))
    np.testing.assert_array_equal(STREAM.permutation(50), STREAM.permutation(50))
    assert STREAM.integer() == STREAM.integer() != STREAM.child("x").integer()


def test_random_state_becomes_a_stream():
    assert as_stream(3) == as_stream(np.int64(3)) == Stream(3)
    assert as_stream(None) != as_stream(None)
    for make in (np.random.default_rng, np.random.RandomState):
        generator = make(0)
        first, second = as_stream(generator), as_stream(generator)
        assert first != second
        assert first == as_stream(make(0))


@pytest.mark.parametrize("bad", [-1, True, 1.0, "0", [1], np.random])
def test_no_stream_of_what_is_no_random_state(bad):
    with pytest.raises(InvalidInput, match="random_state should be"):
        as_stream(bad)
