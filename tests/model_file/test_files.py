"""Model files: exact round trips, and nothing but ModelFileError from a file that is not whole, sound and ours."""

import copy as copy_module
import dataclasses
import math
import os
import random
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from backwalk.checksummed import checksummed_bytes, open_checksummed
from backwalk.denoiser import Residual, Textbook
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import ModelFileError
from backwalk.estimator import Diffusion
from backwalk.model import log_density, sample_rows
from backwalk.model_file import FORMAT, VERSION, check_target, fingerprint, is_model, load, save
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Schema

FEW = Sampler("multistep", 3)


@pytest.fixture(scope="module")
def model(fitted):
    return fitted.model_


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.backwalk"
    save(model, path)
    return path


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of the saved model that a test may damage."""
    return Path(shutil.copy(saved, tmp_path / "copy"))


def same(one, other):
    """Whether two models agree in every number that they hold."""
    states = one.denoiser.state_dict(), other.denoiser.state_dict()
    plain = ("codec", "schema", "reverse_variance", "decoder_variance", "sampler", "prior_mismatch", "history", "card")
    return (
        states[0].keys() == states[1].keys()
        and all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        and torch.equal(one.schedule.log_snr, other.schedule.log_snr)
        and torch.equal(one.denoising_error, other.denoising_error)
        and all(getattr(one, name) == getattr(other, name) for name in (*plain, "architecture"))
        and one.denoiser.log_snr_range == other.denoiser.log_snr_range
    )


def change(path, record=None, tensors=None):
    """Alter a model's record and tensors, and make the checksum right again, as someone hostile would."""
    with open_checksummed(path, form=FORMAT, version=VERSION) as file:
        parts = file.record, file.tensors()
    for part, function in zip(parts, (record, tensors), strict=True):
        if function is not None:
            function(part)
    path.write_bytes(checksummed_bytes(*parts, form=FORMAT, version=VERSION))


def test_round_trip_is_exact(model, saved, rows):
    loaded = load(saved)
    assert same(model, loaded)
    samples = [sample_rows(one, 0, 50, stream=Stream(1), sampler=FEW) for one in (model, loaded)]
    np.testing.assert_array_equal(*samples)
    scores = [log_density(one, rows[:20], n_intervals=2).log_prob for one in (model, loaded)]
    assert torch.equal(*scores)
    assert all(parameter.data_ptr() % 64 == 0 for parameter in loaded.denoiser.parameters())


def test_the_notebook_s_model_makes_the_round_trip(rows, tmp_path):
    schedule = NoiseSchedule.linear(10)
    model = Diffusion(
        schedule=schedule, denoiser=Textbook(8, 2), reverse_variance="beta", max_steps=3, scale=False, random_state=0
    )
    with pytest.warns(UserWarning, match="prior mismatch"):
        model.fit(rows)
    model.save(tmp_path / "m")
    assert same(Diffusion.load(tmp_path / "m").model_, model.model_)


def test_a_chain_that_ends_in_pure_noise_makes_the_round_trip(rows, tmp_path):
    schedule = NoiseSchedule(torch.tensor([math.inf, 6.0, 2.0, -2.0, -math.inf]))
    model = Diffusion(schedule=schedule, max_steps=3, random_state=0).fit(rows)
    model.save(tmp_path / "m")
    assert same(load(tmp_path / "m"), model.model_)
    assert np.isfinite(model.sample(5, random_state=0)).all()


@pytest.fixture(scope="module")
def grades():
    """A table whose 20 rates have a grade each."""
    rate = np.random.default_rng(0).integers(20, size=400)
    names = np.array(list("QWERTYUIOP"))
    return pa.table({"rate": [f"r{each}" for each in rate], "grade": names[rate // 2], "x": rate % 7 + 0.5})


def test_what_levels_tell_of_each_other_is_kept(grades, tmp_path):
    made = Diffusion(max_steps=2, rules=None, random_state=0, verbose=False).fit(grades)
    assert (0, 1) in made.model_.denoiser.layout.partners
    made.save(tmp_path / "grades.backwalk")
    loaded = Diffusion.load(tmp_path / "grades.backwalk")
    np.testing.assert_array_equal(loaded.score_samples(grades[:20]), made.score_samples(grades[:20]))


def places(n, count, seed):
    return sorted(random.Random(seed).sample(range(n), min(count, n)))


def test_truncated_anywhere_is_refused(copy):
    content = copy.read_bytes()
    for length in {0, 1, 8, len(content) - 1, *places(len(content), 75, seed=0)}:
        copy.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="copy"):
            load(copy)


def test_altered_anywhere_is_refused(copy):
    content, rng = copy.read_bytes(), random.Random(1)
    for place in places(len(content), 110, seed=2):
        altered = bytearray(content)
        altered[place] ^= rng.randrange(1, 256)
        copy.write_bytes(altered)
        with pytest.raises(ModelFileError):
            load(copy)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda record: record.update(decoder_variance=-1.0), "decoder_variance"),
        (lambda record: record.update(floor=1e200), "floor"),
        (lambda record: record.update(has_patterns=True, partners=[[0, 99]]), "partners"),
        (lambda record: record.pop("codec"), "codec"),
        (lambda record: record.update(codec={"columns": []}), "column"),
        (lambda record: record.update(data_schema=Schema(None, ("float64",), "numpy").to_dict()), "columns"),
        (lambda record: record["architecture"].update(width=65536, n_blocks=1000, n_members=1000), "weights"),
        (lambda record: record["architecture"].update(width=2**63), "width"),
        (lambda record: record["architecture"].update(kind="Pickle"), "denoiser"),
        (lambda record: record["sampler"].update(solver="euler"), "solver"),
        (lambda record: record["card"].update(description="x" * 1001), "card.description"),
    ],
    ids=range(11),
)
def test_a_hostile_record_is_refused_with_the_reason(copy, alter, message):
    change(copy, record=alter)
    with pytest.raises(ModelFileError, match=message):
        load(copy)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda t: t["denoiser.network.enter.weight"].fill_(math.nan), "finite"),
        (
            lambda t: t.update({"denoiser.network.leave.bias": torch.full((2, 1, 2), 1e300, dtype=torch.float64)}),
            "float32",
        ),
        (lambda t: t["schedule.log_snr"].fill_(math.nan), "decrease"),
        (lambda t: t["denoising_error"].fill_(-1.0), "denoising_error"),
        (lambda t: t.update({"schedule.log_snr": torch.zeros(3, 3, dtype=torch.float64)}), "row"),
        (lambda t: t.pop("denoiser.network.leave.bias"), "weights"),
        (lambda t: t.update({"denoiser.more": torch.zeros(3)}), "more"),
    ],
    ids=range(7),
)
def test_hostile_tensors_are_refused_with_the_reason(copy, alter, message):
    change(copy, tensors=alter)
    with pytest.raises(ModelFileError, match=message):
        load(copy)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[" * 100_000, b"\xff\xfe\x00", b" " * (16 * 2**20 + 1)], ids=range(5)
)
def test_what_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    assert not is_model(tmp_path / "m")
    with pytest.raises(ModelFileError, match="cannot be read"):
        load(tmp_path / "m")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "No such file"),
        (lambda path: path.mkdir(), "should be a file, but is a folder"),
        (os.mkfifo, "should be a file, but is a device or a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "should be a file, but is a device or a pipe"),
        (lambda path: path.symlink_to(path), "Too many levels|Symbolic link loop"),
        (lambda path: path.symlink_to("/etc/hosts"), "not a safetensors file"),
    ],
    ids=["nothing", "folder", "pipe", "device", "loop", "text"],
)
def test_what_is_no_file_is_refused(tmp_path, make, message):
    make(tmp_path / "m")
    assert not is_model(tmp_path / "m")
    with pytest.raises(ModelFileError, match=message):
        load(tmp_path / "m")


def test_a_link_is_followed_when_read_and_replaced_when_written(model, copy, tmp_path):
    (tmp_path / "link").symlink_to(copy)
    assert same(load(tmp_path / "link"), model)
    save(dataclasses.replace(model, decoder_variance=0.125), tmp_path / "link", overwrite=True)
    assert not (tmp_path / "link").is_symlink()
    assert same(load(copy), model)


def test_nothing_is_overwritten_unless_asked(model, copy, tmp_path):
    other = dataclasses.replace(model, decoder_variance=0.125, denoising_error=2.0 * model.denoising_error)
    for write in (check_target, partial(save, model)):
        with pytest.raises(ModelFileError, match="exists already"):
            write(copy)
        with pytest.raises(ModelFileError, match="should be a file, but is a folder"):
            write(tmp_path, overwrite=True)
    check_target(copy, overwrite=True)
    check_target(tmp_path / "new" / "newer")
    save(other, copy, overwrite=True)
    assert same(load(copy), other)
    save(other, tmp_path / "new" / "newer")
    assert same(load(tmp_path / "new" / "newer"), other)


@pytest.mark.slow
@pytest.mark.parametrize("is_table", [False, True])
def test_equal_fits_are_equal_files(rows, tmp_path, is_table):
    X = pa.table({"kind": ["a", "b"] * 100, "x": rows[:200, 0]}) if is_table else rows
    for i, seed in enumerate((0, 0, 1)):
        model = Diffusion(denoiser=Residual(8, 1), max_steps=3, random_state=seed, verbose=False).fit(X)
        assert model.model_.fit_seconds > 0.0
        model.save(tmp_path / str(i))
    one, same_fit, other = (tmp_path / str(i) for i in range(3))
    assert one.read_bytes() == same_fit.read_bytes()
    assert fingerprint(one) == fingerprint(same_fit) != fingerprint(other)
    assert load(one).fit_seconds is load(one).history.seconds is None
    save(load(one), tmp_path / "again")
    assert one.read_bytes() == (tmp_path / "again").read_bytes()


def test_what_could_not_be_read_is_not_written(model, tmp_path):
    bias = torch.full_like(model.denoiser.network.leave.bias, math.nan)
    broken = copy_module.deepcopy(model.denoiser)
    broken.network.leave.bias = torch.nn.Parameter(bias)
    history = dataclasses.replace(model.history, loss=(math.inf, *model.history.loss[1:]))
    for change, message in (
        ({"denoiser": broken}, "finite numbers, but denoiser.network.leave.bias does not"),
        ({"history": history}, "finite numbers, but history.loss does not"),
        ({"denoising_error": -model.denoising_error - 1.0}, "denoising_error should"),
    ):
        with pytest.raises(ModelFileError, match=message):
            save(dataclasses.replace(model, **change), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
