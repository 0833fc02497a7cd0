"""What tests of training share."""

import math

import pytest

from backwalk.training.batches import Batches


@pytest.fixture
def spoil_step(monkeypatch):
    """A function that makes every loss of one step NaN."""

    def spoil(at):
        batch_at = Batches.at

        def spoiled(self, step, *given):
            batch = batch_at(self, step, *given)
            return batch._replace(log_snr=batch.log_snr * math.nan) if step == at else batch

        monkeypatch.setattr(Batches, "at", spoiled)

    return spoil
