"""Columns of very many levels: the loss and its gradients are those of any other column."""

import pytest
import torch

from backwalk.denoiser import layout as layouts
from backwalk.model import level_of
from backwalk.streams import Stream
from backwalk.table import Codec
from backwalk.training import Patterns, Shares
from backwalk.training import patterns as training_patterns
from backwalk.training.patterns import ABSENT, NOISY
from tests.denoiser.tables import WITHOUT_BASIS as CODEC
from tests.denoiser.tables import N, denoiser, rows

WIDE_BLOCK = 4  # of 70 levels


@pytest.fixture
def wide(monkeypatch):
    """A denoiser for which a column of 70 levels is wide."""
    monkeypatch.setattr(layouts, "WIDE", 64)
    made = denoiser(codec=CODEC)
    assert made.layout.wide == [WIDE_BLOCK]
    return made


@pytest.fixture
def plain():
    made = denoiser(codec=CODEC)
    assert made.layout.wide == []
    return made


@pytest.fixture
def batch():
    """Rows of all patterns, with levels given, absent and noisy."""
    x_0 = rows(N, codec=CODEC)
    level = torch.linspace(-5.0, 7.0, N, dtype=torch.float64)
    patterns = Patterns.of(CODEC, Shares(0.3, 0.15, 0.2, 0.2, 0.15))
    log_snr, weight = patterns.by_coordinate(x_0, level, 1.0 + level.exp(), patterns.draw(N, stream=Stream(3)))
    eps = Stream(4).normal(0, N, CODEC.n_encoded)
    return torch.where(x_0.isnan(), eps.roll(1, 0), x_0), eps, log_snr, weight


def test_its_losses_and_gradients_are_those_of_any_other_block(plain, wide, batch):
    with torch.no_grad():
        torch.testing.assert_close(wide.losses(*batch), plain.losses(*batch))
    of_members = [part.expand(2, *part.shape) for part in batch]
    (loss, gradients), (expected, others) = (made.loss_and_gradients(*of_members) for made in (wide, plain))
    torch.testing.assert_close(loss, expected)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other)


def test_a_wide_column_alone_is_trained(monkeypatch):
    monkeypatch.setattr(layouts, "WIDE", 64)
    made = denoiser(codec=Codec((CODEC.columns[5],)))
    assert (made.layout.n_narrow_features, made.layout.n_numbers) == (0, 0)
    x_0 = rows(20, codec=Codec((CODEC.columns[5],)))
    batch = [
        part.expand(2, *x_0.shape)
        for part in (x_0, torch.zeros_like(x_0), torch.full_like(x_0, -torch.inf), torch.ones_like(x_0))
    ]
    loss, gradients = made.loss_and_gradients(*batch)
    assert bool(loss.isfinite())
    assert any(bool(gradient.any()) for gradient in gradients)


def test_known_codes_of_many_levels_are_found(wide):
    x_0 = rows(200, 5, CODEC).float()
    assert torch.equal(wide.layout.float().level_of(WIDE_BLOCK, x_0), level_of(CODEC.blocks[WIDE_BLOCK], x_0))


def test_training_computes_a_wide_column_in_some_rows_with_the_same_expectation(monkeypatch):
    monkeypatch.setattr(training_patterns, "WIDE", 64)
    monkeypatch.setattr(training_patterns, "_MOST_PROBABILITIES", 70 * 100)
    n, shares = 1000, Shares(0.3, 0.15, 0.2, 0.2, 0.15)
    patterns = Patterns.of(CODEC, shares)
    first = CODEC.blocks[WIDE_BLOCK].coordinates.start
    ((part, n_levels),) = patterns.wide
    assert n_levels == 70
    states = patterns.draw(n, stream=Stream(1))
    assert not bool((states[:, part] == NOISY).any())
    level = torch.zeros(n)
    weight = patterns.by_coordinate(rows(n, codec=CODEC).float(), level, 1.0 + level.exp(), states)[1][:, first]
    assert int((weight > 0).sum()) <= 100
    absent = (states[:, part] == ABSENT).float()
    # Of a hundred rows two thirds are absent, with a standard deviation of .07 of their number; four of them: 6e-5.
    assert float(weight.sum()) == pytest.approx(float(absent.sum()), rel=0.28)
