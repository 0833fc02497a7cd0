"""Memorisation: found where it is, and measured on the rows that were trained on."""

import numpy as np
import pytest
import torch

from backwalk.assess import assess
from backwalk.assess.representation import Representation
from backwalk.assess.statistics.memorisation import draw_equally_many, nearest_row_share
from backwalk.assess.topics.memorisation import measure_training_gain
from backwalk.diffusion import NoiseSchedule
from backwalk.estimator import Diffusion
from backwalk.fit import trained_rows
from backwalk.fit.oracle import oracle_model
from backwalk.model import bound
from backwalk.streams import Stream
from backwalk.training import Trainer
from tests.empirical import EmpiricalDenoiser

from ..moons import SMALL, TRAINING, UNSEEN, assessed, fitted

pytestmark = pytest.mark.usefixtures("cheap_scores")


def test_rows_that_only_chose_the_weights_are_left_out_of_memory_s_figures():
    model = fitted()
    trained = trained_rows(model.card, TRAINING)
    assert trained.sum() == model.card["n_rows"] == assessed().checks.n_training
    assert trained_rows(model.card, TRAINING + 1.0).all()  # another table
    seen = {}

    class Watched(Trainer):
        def __init__(self, denoiser, rows, *args, **options):
            seen.update(x_0=rows.x_0, x_validation=rows.x_validation)
            super().__init__(denoiser, rows, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backwalk.fit.fit.Trainer", Watched)
        again = Diffusion(n_steps=5, max_steps=1, denoiser=SMALL, random_state=0, verbose=False).fit(TRAINING).model_
    z = torch.from_numpy(again.codec.encode(TRAINING)).float()
    found = trained_rows(again.card, TRAINING)
    for rows, told in ((seen["x_0"], z[found]), (seen["x_validation"], z[~found])):
        assert set(map(tuple, rows.tolist())) == set(map(tuple, told.tolist()))


def test_rows_that_chose_the_weights_are_in_no_figure_of_memory():
    trained, found = TRAINING[trained_rows(fitted().card, TRAINING)], assessed().memorisation
    assert len(trained) < len(TRAINING)
    assert found.training_gain == measure_training_gain(fitted(), trained, UNSEEN, Stream(0).child("gain"))
    encode = Representation.of(fitted(), UNSEEN, TRAINING).encode
    rows = map(encode, (assessed().generated, trained, UNSEEN))
    assert found.nearest_row_share == nearest_row_share(*rows, stream=Stream(0).child("nearest"))


def test_a_denoiser_of_the_training_rows_is_found_out():
    schedule = NoiseSchedule.log_snr_uniform(40, log_snr_max=8.0, log_snr_min=-8.0)
    training, unseen = TRAINING[:80], UNSEEN[:80]
    model = oracle_model(EmpiricalDenoiser(torch.from_numpy(training)), training, schedule)
    fidelity = assess(model, unseen, training=training, stream=Stream(0), n_pairs=2, baselines=False)
    gain, share = fidelity.memorisation.training_gain, fidelity.memorisation.nearest_row_share
    assert gain.value > 6 * gain.standard_error
    assert share.value > 0.5 + 6 * share.standard_error
    # The network of a short fit has remembered nothing.
    gain = assessed().memorisation.training_gain
    assert abs(gain.value) < 6 * gain.standard_error


def test_both_sets_of_rows_share_their_noise():
    assert measure_training_gain(fitted(), TRAINING, UNSEEN, Stream(4)).n == 400
    same = np.tile(UNSEEN[:1], (20, 1))  # in any order
    gain = measure_training_gain(fitted(), same, same, Stream(4))
    assert gain.value == gain.standard_error == 0.0


def test_the_gain_of_training_rows_is_that_of_encoded_ones():
    """Found by review: the volumes of columns with heavy tails were in it, and hid memorisation in their spread."""
    wild, even = (np.exp(2.0 * Stream(5).child(name).normal(0, 300, 1).numpy()) for name in ("training", "unseen"))
    model = Diffusion(n_steps=40, max_steps=30, denoiser=SMALL, random_state=0, verbose=False).fit(wild).model_
    assert model.codec.columns[0].asinh
    on_training, on_unseen = (
        bound(model, rows, stream=Stream(4).child("noise")).per_row.numpy() + model.codec.log_abs_det_jacobian(rows)
        for rows in draw_equally_many(wild, even, Stream(4))
    )
    gain = measure_training_gain(model, wild, even, Stream(4))
    assert gain.value == pytest.approx(float((on_unseen - on_training).mean()), rel=1e-5)
