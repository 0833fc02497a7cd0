"""What tests of training share."""

import math

import pytest

from backwalk.training.batches import Batches


@pytest.fixture
def spoil_step(monkeypatch):
    """A function that makes every loss of one step NaN."""

    def spoil(at):
        of_member = Batches.of_member

        def spoiled(self, member, step):
            batch = of_member(self, member, step)
            return batch._replace(log_snr=batch.log_snr * math.nan) if step == at else batch

        monkeypatch.setattr(Batches, "of_member", spoiled)

    return spoil
