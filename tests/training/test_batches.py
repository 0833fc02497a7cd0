"""Batches: functions of the step, with integers dequantised anew and the weights of rows."""

import numpy as np
import torch

from backwalk.streams import Stream
from backwalk.table import Asinh, Codec, ConstantColumn, Grid, LevelsColumn, NumberColumn
from backwalk.training import LogNormalLevels, Training, TrainingRows
from backwalk.training.batches import Batches
from backwalk.training.patterns import Patterns, Shares

STREAM = Stream(31)
X_0 = STREAM.child("x_0").normal(0, 50, 3, torch.float32)
LEVELS = LogNormalLevels(0.02, 20.0, centre=-1.0)


def test_a_batch_does_not_depend_on_what_was_asked_before():
    training = Training(batch_size=20, learning_rate=0.01, max_steps=99)
    asked = Batches(TrainingRows(x_0=X_0), LEVELS, training, STREAM)
    for step in (40, 3, 41, 3):
        fresh = Batches(TrainingRows(x_0=X_0), LEVELS, training, STREAM).at(step)
        for part, expected in zip(asked.at(step), fresh, strict=True):
            assert torch.equal(part, expected)


def test_integers_are_dequantised_anew_for_each_batch():
    """Found by review: the noise in the cells was drawn once a fit, and learnt."""
    flag = NumberColumn(0.5, 2.0, 0.0, 1.0, grid=Grid(), dequantisation=0.0)
    count = NumberColumn(0.0, 2.0, 0.0, 90.0, asinh=Asinh(0.0, 1.0), grid=Grid(), dequantisation=0.0)
    codec = Codec((flag, NumberColumn(0.0, 1.0), ConstantColumn(7.0), count))
    values = np.column_stack([np.arange(50) % 2, np.linspace(-1.0, 1.0, 50), np.full(50, 7.0), np.arange(50)])
    x_0 = torch.from_numpy(codec.encode(values, stream=STREAM)).float()
    training = Training(batch_size=50, learning_rate=0.01, max_steps=99)
    rows = TrainingRows(x_0=x_0, redraw=codec.redraw(values))
    drawn, again = (Batches(rows, LEVELS, training, STREAM) for _ in range(2))
    plain = Batches(TrainingRows(x_0=x_0), LEVELS, training, STREAM)
    seen = []
    for step in (0, 1, 40):
        batch, other = drawn.at(step), plain.at(step)
        assert torch.equal(batch.x_0, again.at(step).x_0)  # a function of seed and step
        assert torch.equal(batch.eps, other.eps)
        assert torch.equal(batch.x_0[..., 1], other.x_0[..., 1])  # a number on a continuous scale
        rows, same = (codec.decode(x[0].double().numpy()) for x in (batch.x_0, other.x_0))
        np.testing.assert_allclose(rows, same, atol=1e-6)  # the same rows, at other places in their cells
        seen.append(batch.x_0[0, batch.x_0[0, :, 1].argsort()])
    places = torch.stack(seen)[..., [0, 2]]
    assert all((a != b).all() for i, a in enumerate(places) for b in places[:i])
    of_some = codec.redraw(values).take(np.array([4, 7]))
    v = np.full((2, 2), 0.5)
    np.testing.assert_allclose(of_some(np.arange(2), v), codec.encode(values[[4, 7]])[:, [0, 2]], atol=1e-12)
    assert Codec((NumberColumn(0.0, 1.0),)).redraw(values[:, :1]) is None


def test_the_weight_of_a_row_is_that_of_its_numbers_and_of_its_levels():
    """Rows of weights 0, 1, 2, ... with two levels and a number, under all patterns."""
    codec = Codec((LevelsColumn((0.0, 1.0), (0.5, 0.5), "one-hot"), NumberColumn(0.0, 1.0)))
    patterns = Patterns.of(codec, Shares(0.2, 0.2, 0.2, 0.2, 0.2), "any")
    x_0, weights = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)), torch.arange(12.0)
    x_0[:, 2] = torch.arange(12.0)  # tells the row
    training = Training(batch_size=6, learning_rate=0.01, max_steps=4)
    plain = Batches(TrainingRows(x_0=x_0), LEVELS, training, STREAM, patterns)
    weighted = Batches(TrainingRows(x_0=x_0, weight=weights), LEVELS, training, STREAM, patterns)
    for step in range(4):
        expected, found = plain.at(step), weighted.at(step)
        torch.testing.assert_close(found.weight, expected.weight * found.x_0[..., 2:])
