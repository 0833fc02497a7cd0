"""The plan of a fit: which rows serve what, and that it is the same on any number of threads."""

import math

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from backwalk.datasets import curved_chain, two_moons
from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.fit import ChosenColumns, check_settings, finest_scale
from backwalk.fit.plan import plan_fit, split_encoded
from backwalk.model import measure_denoising_error
from backwalk.model_file.conversion import record_of, tensors_of
from backwalk.streams import Stream
from backwalk.table import Codec, NumberColumn, Schema, Table
from backwalk.training import split_rows

SMALL, NUMBERS = Residual(8, 1), Codec((NumberColumn(0.0, 1.0),) * 2)


def planned(z, *, stream=0, **given):
    """The plan of rows that are encoded already."""
    small = {"denoiser": SMALL, "n_steps": 9, "max_steps": 2}
    settings = check_settings(Diffusion(**{**small, **given}).get_params(deep=False))
    n, d = z.shape
    table = Table(z, Schema(None, ("float64",) * d, "numpy"))
    gaps = np.isnan(z).sum(axis=0).tolist()
    chosen = ChosenColumns(table, Codec((NumberColumn(0.0, 1.0),) * d), {}, gaps, n, n)
    split = split_encoded(z, settings, Stream(stream))
    return plan_fit(chosen, z, split, settings, stream=Stream(stream))


@pytest.mark.parametrize("fraction", [None, 0.0, 0.3])
def test_denoising_errors_are_of_validation_rows_where_there_are_any(fraction):
    X = two_moons().sample(400, random_state=0)
    given = {"n_steps": 9, "max_steps": 3, "denoiser": SMALL, "validation_fraction": fraction, "verbose": False}
    model = Diffusion(random_state=5, **given).fit(X).model_
    z = torch.from_numpy(model.codec.encode(X)).float()
    n_validation = {None: 40, 0.0: 0, 0.3: 120}[fraction]
    validation, trained = split_rows(len(X), n_validation, stream=Stream(5))
    rows = z[validation if n_validation else trained][:1000]
    expected = measure_denoising_error(model.denoiser, rows, model.schedule, stream=Stream(5).child("denoising error"))
    assert torch.equal(model.denoising_error, expected)
    other = z[trained if n_validation else trained[::-1].copy()][:1000]
    of_others = measure_denoising_error(
        model.denoiser, other, model.schedule, stream=Stream(5).child("denoising error")
    )
    assert not torch.equal(model.denoising_error, of_others)


def test_the_floor_and_the_split_are_those_of_the_seed():
    z = two_moons().sample(400, random_state=0)
    plan = planned(z, stream=3)
    assert plan.new_member(0).floor == finest_scale(z, stream=Stream(3).child("floor"))
    validation, trained = split_rows(400, 40, stream=Stream(3))
    assert torch.equal(plan.rows.x_0, torch.from_numpy(z[trained]).float())
    assert torch.equal(plan.rows.x_validation, torch.from_numpy(z[validation]).float())
    # Trained at levels about half-way, in ln s, between the floor and e^.3 = 1.35.
    assert math.exp(2.0 * plan.noise_levels.centre) == pytest.approx(plan.new_member(0).floor * math.exp(0.3))
    ends = plan.schedule.noise_level[[1, -1]].tolist()
    assert [plan.noise_levels.level_min, plan.noise_levels.level_max] == pytest.approx(ends)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "d"), [(two_moons(), 2), (curved_chain(12), 12)], ids=["2 columns", "12 columns"])
def test_a_file_of_a_fit_does_not_depend_on_the_number_of_threads(rows, d):
    """Found by review: the sums over all rows that the noise levels and the prior mismatch follow from did."""
    X, found, before = rows.sample(20_000, random_state=0), [], torch.get_num_threads()
    assert X.shape[1] == d
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            with threadpool_limits(n_threads):
                model = Diffusion(max_steps=2, denoiser=SMALL, random_state=0, verbose=False).fit(X).model_
            record = record_of(model).model_dump()
            found.append((record, {name: tensor.numpy().tobytes() for name, tensor in tensors_of(model).items()}))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_a_share_for_validation_that_is_no_row_is_refused():
    """Found by review: 1 % of 40 rows was none, and variances were fitted on rows that were trained on."""
    z = two_moons().sample(40, random_state=0)
    with pytest.raises(InvalidInput, match=r"one of 40 rows, but 0.01 .*give more, or 0"):
        planned(z, validation_fraction=0.01)


def test_columns_too_far_from_0_for_the_noise_are_refused_where_they_are_not_scaled():
    """Found by review: noise that is lost in rounding makes a bound below the entropy."""
    z = two_moons().sample(400, random_state=0)
    with pytest.raises(InvalidInput, match=r"is lost in the rounding of torch.float32 rows of size 1e\+06"):
        planned(z + 1e6, scale=False)
    z[0, 0] = np.nan  # found by review: with one gap nothing was refused
    with pytest.raises(InvalidInput, match=r"is lost in the rounding of torch.float32 rows of size 1e\+06"):
        planned(z + 1e6, scale=False)
