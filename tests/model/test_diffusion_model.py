"""The record of a fitted model: the variances of its chains, and its facts in words."""

import dataclasses

import pytest
import torch

from backwalk.diffusion import beta_tilde_variance, beta_variance, optimal_variance
from backwalk.errors import InvalidInput
from backwalk.model import (
    check_reverse_variance,
    mismatch_warning,
    reverse_variances,
    training_words,
)


@pytest.fixture
def model(fitted):
    return fitted.model_


def test_a_short_chain_has_the_variances_of_its_own_schedule(model):
    times = [1, 4, 20, 30]
    short, error = model.schedule.respace(times), model.denoising_error[[0, *times]]
    decoder = {"decoder_variance": model.decoder_variance}
    for name, expected in (
        ("beta", beta_variance(short, **decoder)),
        ("beta_tilde", beta_tilde_variance(short, **decoder)),
        ("optimal", optimal_variance(short, error, **decoder)),
    ):
        other = dataclasses.replace(model, reverse_variance=name)
        torch.testing.assert_close(reverse_variances(other, times), expected)
        assert other.sigma_sq.shape == (31,)
    without_first = reverse_variances(model, [4, 20, 30])
    assert float(without_first[1]) == pytest.approx(float(model.denoising_error[4]))


def test_only_known_reverse_variances_pass():
    with pytest.raises(InvalidInput, match="reverse_variance should be one of"):
        check_reverse_variance("learned")


@pytest.mark.parametrize(("kept", "words"), [(30, ""), (20, "of step 20, better"), (0, "before training, better")])
def test_the_weights_that_were_kept_are_put_into_words(model, kept, words):
    history = dataclasses.replace(model.history, chosen_step=kept)
    told = training_words(dataclasses.replace(model, history=history))
    assert told.startswith("30 steps of ")
    assert ("kept" in told, words in told) == (bool(words), True)


def test_a_mismatch_is_put_into_words_where_it_costs(model):
    assert mismatch_warning(0.0099, model.schedule) is None
    text = mismatch_warning(0.0804, model.schedule)
    assert "0.080 nats per row" in text
    assert f"alpha_bar_N = {float(model.schedule.alpha_bar[-1]):.4f}" in text
