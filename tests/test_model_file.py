"""Model files: exact round trips, and nothing but ModelFileError from a file that is not whole, sound and ours."""

import dataclasses
import hashlib
import json
import math
import os
import pickle
import random
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch

from backwalk.denoiser import Textbook
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import ModelFileError
from backwalk.estimator import Diffusion
from backwalk.model import log_density, sample_rows
from backwalk.model_file import load, save
from backwalk.sampling import Sampler
from backwalk.streams import Stream

FEW = Sampler("dpm++2m", 3)


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
    return shutil.copytree(saved, tmp_path / "copy")


def weights_in(folder):
    (path,) = folder.glob("weights-*.safetensors")
    return path


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


def change_record(folder, change):
    """Alter the record and make its checksum right again, as someone hostile would."""
    whole = json.loads((folder / "model.json").read_text())
    change(whole["model"])
    whole["sha256"] = hashlib.sha256(json.dumps(whole["model"], sort_keys=True).encode()).hexdigest()
    (folder / "model.json").write_text(json.dumps(whole))


def change_tensors(folder, change):
    """Alter the tensors and make all names and checksums right again."""
    old = weights_in(folder)
    tensors = safetensors.torch.load_file(old)
    change(tensors)
    content = safetensors.torch.save(tensors)
    checksum = hashlib.sha256(content).hexdigest()
    old.unlink()
    (folder / f"weights-{checksum[:16]}.safetensors").write_bytes(content)
    change_record(
        folder,
        lambda record: record.update(weights=f"weights-{checksum[:16]}.safetensors", weights_sha256=checksum),
    )


def test_round_trip_is_exact(model, saved, rows):
    loaded = load(saved)
    assert same(model, loaded)
    samples = [sample_rows(one, 0, 50, stream=Stream(1), sampler=FEW) for one in (model, loaded)]
    np.testing.assert_array_equal(*samples)
    scores = [log_density(one, rows[:20], n_intervals=2).log_prob for one in (model, loaded)]
    assert torch.equal(*scores)
    assert sorted(path.name for path in saved.iterdir()) == ["model.json", weights_in(saved).name]


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


def places(n, count, seed):
    return sorted(random.Random(seed).sample(range(n), min(count, n)))


@pytest.mark.parametrize("which", ["model.json", "weights"])
def test_truncated_anywhere_is_refused(copy, which):
    path = copy / which if which == "model.json" else weights_in(copy)
    content = path.read_bytes()
    for length in {0, 1, 8, len(content) - 1, *places(len(content), 75, seed=0)}:
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="copy"):
            load(copy)


@pytest.mark.parametrize("which", ["model.json", "weights"])
def test_altered_anywhere_is_refused_or_the_very_same_model(copy, model, which):
    path = copy / which if which == "model.json" else weights_in(copy)
    content, rng = path.read_bytes(), random.Random(1)
    refused = 0
    for place in places(len(content), 110, seed=2):
        altered = bytearray(content)
        altered[place] ^= rng.randrange(1, 256)
        path.write_bytes(altered)
        try:
            assert same(load(copy), model)  # a space changed into a line end, for one
        except ModelFileError:
            refused += 1
    assert refused > (60 if which == "model.json" else 109)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(weights="../elsewhere/weights-0123456789abcdef.safetensors"), "weights"),
        (lambda record: record.update(weights="/etc/passwd"), "weights"),
        (lambda record: record.update(weights="weights-0123456789abcdef.safetensors\n"), "weights"),
        (lambda record: record.update(weights="weights-0123456789abcdef.safetensors"), "No such file"),
        (lambda record: record.update(weights_sha256="0" * 64), "altered"),
        (lambda record: record.update(decoder_variance=-1.0), "decoder_variance"),
        (lambda record: record.update(floor=1e200), "floor"),
        (lambda record: record.update(reverse_variance="learned"), "reverse_variance"),
        (lambda record: record.update(extra=1), "extra"),
        (lambda record: record.pop("codec"), "codec"),
        (lambda record: record.update(codec={"columns": []}), "column"),
        (
            lambda record: record.update(data_schema={"columns": None, "dtypes": ["float64"], "kind": "numpy"}),
            "columns",
        ),
        (lambda record: record["architecture"].update(width=65536, n_blocks=1000, n_members=1000), "bytes"),
        (lambda record: record["architecture"].update(width=2**63), "width"),
        (lambda record: record["architecture"].update(width=15), "size mismatch"),
        (lambda record: record["architecture"].update(kind="Pickle"), "architecture"),
        (lambda record: record["sampler"].update(n_evaluations=0), "n_evaluations"),
        (lambda record: record["sampler"].update(solver="euler"), "solver"),
        (lambda record: record["history"].update(n_steps="many"), "n_steps"),
    ],
    ids=range(19),
)
def test_a_hostile_record_is_refused_with_the_reason(copy, change, message):
    change_record(copy, change)
    with pytest.raises(ModelFileError, match=message):
        load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["denoiser.network.enter.weight"].fill_(math.nan), "finite"),
        (lambda t: t["denoiser.network.leave.bias"].fill_(math.inf), "finite"),
        (
            lambda t: t.update({"denoiser.network.leave.bias": torch.full((2, 1, 2), 1e300, dtype=torch.float64)}),
            "float32",
        ),
        (lambda t: t["schedule.log_snr"].fill_(math.nan), "decrease"),
        (lambda t: t["schedule.log_snr"].fill_(1.0), "decrease"),
        (lambda t: t["denoising_error"].fill_(-1.0), "denoising_error"),
        (lambda t: t.update(denoising_error=torch.zeros(3, dtype=torch.float64)), "denoising_error"),
        (lambda t: t.update({"schedule.log_snr": torch.zeros(3, 3, dtype=torch.float64)}), "row"),
        (lambda t: t.update({"history.step": torch.zeros((), dtype=torch.float64)}), "row"),
        (lambda t: t.update({"history.step": torch.zeros(1, dtype=torch.float64)}), "history"),
        (lambda t: t.update({"history.loss": torch.zeros(3, dtype=torch.complex64)}), "row"),
        (lambda t: t.update({"history.more": torch.zeros(3, dtype=torch.float64)}), "row"),
        (lambda t: t.pop("schedule.log_snr"), "schedule.log_snr"),
        (lambda t: t.pop("history.loss"), "history.loss"),
        (lambda t: t.pop("denoiser.network.leave.bias"), "leave.bias"),
        (lambda t: t.update({"denoiser.more": torch.zeros(3)}), "more"),
        (lambda t: t.update({"denoiser.network.leave.bias": torch.zeros(5)}), "leave.bias"),
    ],
    ids=range(17),
)
def test_hostile_tensors_are_refused_with_the_reason(copy, change, message):
    change_tensors(copy, change)
    with pytest.raises(ModelFileError, match=message):
        load(copy)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\xff\xfe\x00",
        b"NaN",
        b'{"format": "backwalk-model", "version": 1, "sha256": "", "model": {"x": NaN}}',
        b'{"format": "backwalk-model", "version": 1, "sha256": "", "model": {"x": 1e999}}',
        pickle.dumps({"model": 1}),
        b" " * (16 * 2**20 + 1),
        b"9" * 10_000,
    ],
    ids=range(13),
)
def test_what_is_no_record_is_refused(copy, content):
    (copy / "model.json").write_bytes(content)
    with pytest.raises(ModelFileError):
        load(copy)


def test_a_pickle_in_the_weights_place_is_not_run(copy):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(copy / "trapped"),))

    def replace(record):
        content = pickle.dumps([Trap(), b"0" * 100_000])
        checksum = hashlib.sha256(content).hexdigest()
        (copy / f"weights-{checksum[:16]}.safetensors").write_bytes(content)
        record.update(weights=f"weights-{checksum[:16]}.safetensors", weights_sha256=checksum)

    change_record(copy, replace)
    with pytest.raises(ModelFileError, match="not a whole backwalk model"):
        load(copy)
    assert not (copy / "trapped").exists()


def test_a_future_version_asks_for_another_release(copy):
    whole = json.loads((copy / "model.json").read_text())
    whole["version"], whole["new"] = 2, "things"
    (copy / "model.json").write_text(json.dumps(whole))
    with pytest.raises(ModelFileError, match="version should be 1, but got 2: use another backwalk release"):
        load(copy)


def test_what_is_not_there_or_no_file_is_refused(copy, tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFileError, match="cannot be read"):
        load(tmp_path / "file")
    (copy / "model.json").unlink()
    os.mkfifo(copy / "model.json")
    with pytest.raises(ModelFileError, match="should be a file"):
        load(copy)


def test_only_a_model_is_ever_overwritten_and_only_when_asked(model, copy, tmp_path):
    with pytest.raises(ModelFileError, match="exists already"):
        save(model, copy)
    other = dataclasses.replace(model, decoder_variance=0.125, denoising_error=2.0 * model.denoising_error)
    save(other, copy, overwrite=True)
    assert same(load(copy), other)
    assert len(list(copy.iterdir())) == 2
    save(other, copy, overwrite=True)
    assert same(load(copy), other)
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "letter.txt").write_text("dear")
    with pytest.raises(ModelFileError, match="holds other things"):
        save(model, tmp_path / "things", overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFileError, match="is a file"):
        save(model, tmp_path / "file", overwrite=True)
    (tmp_path / "empty").mkdir()
    save(model, tmp_path / "empty")
    assert same(load(tmp_path / "empty"), model)


def test_a_damaged_model_can_be_replaced(model, copy):
    (copy / "model.json").write_text("{")
    save(model, copy, overwrite=True)
    assert same(load(copy), model)


@pytest.mark.parametrize("fails", ["weights", "model.json"])
def test_a_writer_that_fails_leaves_the_old_model_and_nothing_else(model, copy, monkeypatch, fails):
    def full(temporary, target):
        if target.name.startswith(fails):
            raise OSError(28, "No space left on device")
        temporary.rename(target)

    monkeypatch.setattr("pathlib.Path.replace", full)
    before = sorted(path.name for path in copy.iterdir())
    other = dataclasses.replace(model, denoising_error=2.0 * model.denoising_error)
    with pytest.raises(ModelFileError, match="No space left"):
        save(other, copy, overwrite=True)
    assert sorted(path.name for path in copy.iterdir()) == before
    assert same(load(copy), model)


def test_a_reader_meets_one_whole_model_while_another_is_written(model, copy, monkeypatch):
    """The new one replaces the old between the two reads of the loader."""
    from backwalk import model_file

    other = dataclasses.replace(model, denoising_error=2.0 * model.denoising_error)
    read, writers = model_file._read_weights, [other]

    def slow(folder, record):
        while writers:
            save(writers.pop(), copy, overwrite=True)
        return read(folder, record)

    monkeypatch.setattr(model_file, "_read_weights", slow)
    assert same(load(copy), other)


def test_a_writer_leaves_the_weights_of_a_faster_one_alone(model, copy, monkeypatch):
    """Whoever writes the record last wins, and the weights that it names are there."""
    from backwalk import model_file

    slow_one, fast_one = (dataclasses.replace(model, denoising_error=k * model.denoising_error) for k in (2.0, 3.0))
    whole_file, writers = model_file.whole_file, [fast_one]

    def interrupted(path, **options):
        while path.name == "model.json" and writers:
            save(writers.pop(), copy, overwrite=True)
        return whole_file(path, **options)

    monkeypatch.setattr(model_file, "whole_file", interrupted)
    save(slow_one, copy, overwrite=True)
    assert same(load(copy), slow_one)
