"""Model files: exact round trips, and nothing but ModelFileError from a file that is not whole, sound and ours."""

import copy as copy_module
import dataclasses
import json
import math
import os
import pickle
import random
import shutil
import stat
import threading

import numpy as np
import pytest
import safetensors.torch
import torch

from backwalk import atomic_files
from backwalk import checksummed as checksummed_module
from backwalk.checksummed import checksummed_bytes, open_checksummed
from backwalk.denoiser import Residual, Textbook
from backwalk.diffusion import NoiseSchedule
from backwalk.distillation import distilled
from backwalk.errors import ModelFileError
from backwalk.estimator import Diffusion
from backwalk.model import log_density, sample_rows
from backwalk.model_file import FORMAT, VERSION, check_target, conversion, files, load, save
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Schema
from backwalk.training import Training

FEW = Sampler("dpm++2m", 3)


@pytest.fixture(scope="module")
def model(fitted):
    return fitted.model_


@pytest.fixture(scope="module")
def taught(model):
    """The same model with a student."""
    return distilled(model, Residual(8, 2), Training(64, 0.01, 3), n_pairs=100, stream=Stream(2))


@pytest.fixture(scope="module", params=["tiny.backwalk", "tiny.safetensors"], ids=["folder", "file"])
def saved(request, model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / request.param
    save(model, path)
    return path


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of the saved model, in either form, that a test may damage."""
    target = tmp_path / f"copy{saved.suffix}"
    return shutil.copytree(saved, target) if saved.is_dir() else shutil.copy(saved, target)


@pytest.fixture
def folder(model, tmp_path):
    save(model, tmp_path / "copy")
    return tmp_path / "copy"


def sealed_file(path):
    if path.is_file():
        return path
    (found,) = path.glob("model-*.safetensors")
    return found


def same(one, other):
    """Whether two models agree in every number that they hold."""
    states = weights_of(one), weights_of(other)
    plain = ("codec", "schema", "reverse_variance", "decoder_variance", "sampler", "prior_mismatch", "history", "card")
    return (
        states[0].keys() == states[1].keys()
        and all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        and torch.equal(one.schedule.log_snr, other.schedule.log_snr)
        and torch.equal(one.denoising_error, other.denoising_error)
        and all(getattr(one, name) == getattr(other, name) for name in (*plain, "architecture"))
        and one.denoiser.log_snr_range == other.denoiser.log_snr_range
        and plain_student(one) == plain_student(other)
    )


def weights_of(model):
    student = model.student.denoiser.state_dict() if model.student else {}
    return model.denoiser.state_dict() | {f"student.{name}": tensor for name, tensor in student.items()}


def plain_student(model):
    """What a student is but for its weights."""
    student = model.student
    return student and (student.architecture, student.error, student.denoiser.floor, student.denoiser.log_snr_range)


def change(path, record=None, tensors=None):
    """Alter what a model is made of, and make all names and checksums right again, as someone hostile would."""
    with open_checksummed(sealed_file(path), form=FORMAT, version=VERSION) as file:
        parts = file.record, file.tensors()
    for part, function in zip(parts, (record, tensors), strict=True):
        if function is not None:
            function(part)
    content = checksummed_bytes(*parts, form=FORMAT, version=VERSION)
    if path.is_file():
        path.write_bytes(content)
    else:
        files._write_folder(path, content, parts[0])


def test_round_trip_is_exact(model, saved, rows):
    loaded = load(saved)
    assert same(model, loaded)
    samples = [sample_rows(one, 0, 50, stream=Stream(1), sampler=FEW) for one in (model, loaded)]
    np.testing.assert_array_equal(*samples)
    scores = [log_density(one, rows[:20], n_intervals=2).log_prob for one in (model, loaded)]
    assert torch.equal(*scores)
    if saved.is_dir():
        assert sorted(path.name for path in saved.iterdir()) == sorted(["model.json", sealed_file(saved).name])


def test_the_notebook_s_model_makes_the_round_trip(rows, tmp_path):
    schedule = NoiseSchedule.linear(10)
    model = Diffusion(
        schedule=schedule, denoiser=Textbook(8, 2), reverse_variance="beta", max_steps=3, scale=False, random_state=0
    )
    with pytest.warns(UserWarning, match="prior mismatch"):
        model.fit(rows)
    model.save(tmp_path / "m")
    assert same(Diffusion.load(tmp_path / "m").model_, model.model_)


@pytest.mark.parametrize("name", ["m", "m.safetensors"])
def test_a_student_makes_the_round_trip(model, taught, tmp_path, name):
    save(taught, tmp_path / name)
    loaded = load(tmp_path / name)
    assert same(loaded, taught)
    assert not same(loaded, model)
    samples = [sample_rows(one, 0, 50, stream=Stream(1), sampler=Sampler("distilled")) for one in (taught, loaded)]
    np.testing.assert_array_equal(*samples)
    assert all(parameter.data_ptr() % 64 == 0 for parameter in loaded.student.denoiser.parameters())
    save(model, tmp_path / name, overwrite=True)
    assert load(tmp_path / name).student is None
    with open_checksummed(sealed_file(tmp_path / name), form=FORMAT, version=VERSION) as file:
        assert "student" not in file.record  # written as it was before there were students


@pytest.mark.parametrize(
    ("record", "tensors", "message"),
    [
        (lambda r: r["student"].update(error=-1.0), None, "student.error"),
        (lambda r: r["student"].update(error="small"), None, "student.error"),
        (lambda r: r["student"].update(more=1), None, "student.more"),
        (lambda r: r["student"].pop("architecture"), None, "student.architecture"),
        (lambda r: r["student"]["architecture"].update(kind="Textbook"), None, "student.architecture"),
        (lambda r: r["student"]["architecture"].update(width=2**63), None, "width"),
        (lambda r: r["student"]["architecture"].update(width=65536, n_blocks=1000, n_members=1000), None, "bytes"),
        (lambda r: r["student"]["architecture"].update(width=7), None, "size mismatch"),
        (lambda r: r.pop("student"), None, "names no student"),
        (lambda r: r.update(student=None), None, "names no student"),
        (None, lambda t: t["student.network.enter.weight"].fill_(math.nan), "finite"),
        (None, lambda t: t.update({"student.network.leave.bias": torch.zeros(1, 1, 2).double()}), "float32"),
        (None, lambda t: t.update({"student.network.leave.bias": torch.zeros(5)}), "leave.bias"),
        (None, lambda t: t.pop("student.network.leave.bias"), "leave.bias"),
        (None, lambda t: t.update({"student.more": torch.zeros(3)}), "more"),
    ],
    ids=range(15),
)
def test_a_hostile_student_is_refused_with_the_reason(taught, tmp_path, record, tensors, message):
    save(taught, tmp_path / "m")
    change(tmp_path / "m", record, tensors)
    with pytest.raises(ModelFileError, match=message):
        load(tmp_path / "m")


def test_a_chain_that_ends_in_pure_noise_makes_the_round_trip(rows, tmp_path):
    schedule = NoiseSchedule(torch.tensor([math.inf, 6.0, 2.0, -2.0, -math.inf]))
    model = Diffusion(schedule=schedule, max_steps=3, random_state=0).fit(rows)
    model.save(tmp_path / "m")
    assert same(load(tmp_path / "m"), model.model_)
    assert np.isfinite(model.sample(5, random_state=0)).all()


def places(n, count, seed):
    return sorted(random.Random(seed).sample(range(n), min(count, n)))


def parts_of(path):
    return [path] if path.is_file() else [path / "model.json", sealed_file(path)]


def test_truncated_anywhere_is_refused(copy):
    for path in parts_of(copy):
        content = path.read_bytes()
        for length in {0, 1, 8, len(content) - 1, *places(len(content), 75, seed=0)}:
            path.write_bytes(content[:length])
            with pytest.raises(ModelFileError, match="copy"):
                load(copy)
        path.write_bytes(content)


def test_altered_anywhere_is_refused_or_the_very_same_model(copy, model):
    for path in parts_of(copy):
        content, rng, refused = path.read_bytes(), random.Random(1), 0
        for place in places(len(content), 110, seed=2):
            altered = bytearray(content)
            altered[place] ^= rng.randrange(1, 256)
            path.write_bytes(altered)
            try:
                assert same(load(copy), model)  # a space changed into a line end, for one
            except ModelFileError:
                refused += 1
        path.write_bytes(content)
        assert refused > 60 if path.name == "model.json" else refused == 110


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../elsewhere/model-0123456789abcdef.safetensors", "should name"),
        ("/etc/passwd", "should name"),
        ("model-0123456789abcdef.safetensors\n", "should name"),
        (None, "should name"),
        (["model.json"], "should name"),
        ("x" * 10_000, "should name"),
        ("model-0123456789abcdef.safetensors", "No such file"),
    ],
    ids=range(7),
)
def test_an_index_that_names_another_file_is_refused(folder, name, message):
    index = json.loads((folder / "model.json").read_text())
    index["file"] = name
    (folder / "model.json").write_text(json.dumps(index))
    with pytest.raises(ModelFileError, match=message) as caught:
        load(folder)
    assert len(str(caught.value)) < 400


def test_an_index_that_says_another_thing_is_refused(folder):
    index = json.loads((folder / "model.json").read_text())
    index["model"]["decoder_variance"] *= 2
    (folder / "model.json").write_text(json.dumps(index))
    with pytest.raises(ModelFileError, match=r"model\.json was altered"):
        load(folder)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda record: record.update(decoder_variance=-1.0), "decoder_variance"),
        (lambda record: record.update(floor=1e200), "floor"),
        (lambda record: record.update(tied=[0]), "tied"),
        (lambda record: record.update(tied=[-1]), "tied"),
        (lambda record: record.update(has_patterns=True, tied=[99]), "tied"),
        (lambda record: record.update(reverse_variance="learned"), "reverse_variance"),
        (lambda record: record.update(extra=1), "extra"),
        (lambda record: record.pop("codec"), "codec"),
        (lambda record: record.update(codec={"columns": []}), "column"),
        (
            lambda record: record.update(data_schema=Schema(None, ("float64",), "numpy").to_dict()),
            "columns",
        ),
        (lambda record: record["architecture"].update(width=65536, n_blocks=1000, n_members=1000), "bytes"),
        (lambda record: record["architecture"].update(width=2**63), "width"),
        (lambda record: record["architecture"].update(width=15), "size mismatch"),
        (lambda record: record["architecture"].update(kind="Pickle"), "architecture"),
        (lambda record: record["sampler"].update(n_evaluations=0), "n_evaluations"),
        (lambda record: record["sampler"].update(solver="euler"), "solver"),
        (lambda record: record["sampler"].update(eta=1.5), "eta"),
        (lambda record: record["sampler"].update(solver="multistep", eta=0.5), "eta"),
        (lambda record: record["history"].update(n_steps="many"), "n_steps"),
        (lambda record: record.update(card={}), "card.description"),
        (lambda record: record.update(card={"parameters": {}}), "card.description"),
        (lambda record: record["card"].update(parameters=None), "card.parameters"),
        (lambda record: record["card"].update(fit_seconds="x"), "card.fit_seconds"),
        (lambda record: record["card"].update(fit_seconds=-1.0), "card.fit_seconds"),
        (lambda record: record["card"].update(description=["x"]), "card.description"),
        (lambda record: record["card"].update(description="x" * 1001), "card.description"),
        (lambda record: record["card"].update(versions={"torch": 3}), "card.versions.torch"),
        (lambda record: record["card"].pop("versions"), "card.versions"),
        (lambda record: record["card"].update(more=1), "card.more"),
    ],
    ids=range(29),
)
def test_a_hostile_record_is_refused_with_the_reason(copy, alter, message):
    change(copy, record=alter)
    with pytest.raises(ModelFileError, match=message):
        load(copy)


@pytest.mark.parametrize(
    ("alter", "message"),
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
        pytest.param(
            lambda t: t.update({"history.loss": torch.zeros(3, dtype=torch.complex64)}),
            "row",
            marks=pytest.mark.skipif(
                torch.complex64 not in safetensors.torch._SIZE, reason="old safetensors write no complex numbers"
            ),
        ),
        (lambda t: t.update({"history.more": torch.zeros(3, dtype=torch.float64)}), "row"),
        (lambda t: t.pop("schedule.log_snr"), "schedule.log_snr"),
        (lambda t: t.pop("history.loss"), "history.loss"),
        (lambda t: t.pop("denoiser.network.leave.bias"), "leave.bias"),
        (lambda t: t.update({"denoiser.more": torch.zeros(3)}), "more"),
        (lambda t: t.update({"denoiser.network.leave.bias": torch.zeros(5)}), "leave.bias"),
    ],
    ids=range(17),
)
def test_hostile_tensors_are_refused_with_the_reason(copy, alter, message):
    change(copy, tensors=alter)
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
        b'{"format": "backwalk-model", "version": 1, "file": "", "model": {"x": NaN}}',
        b'{"format": "backwalk-model", "version": 1, "file": "", "model": {"x": 1e999}}',
        pickle.dumps({"model": 1}),
        b" " * (16 * 2**20 + 1),
        b"9" * 10_000,
    ],
    ids=range(13),
)
def test_what_is_no_record_is_refused(folder, content):
    for path in parts_of(folder):
        before = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(ModelFileError):
            load(folder)
        path.write_bytes(before)
    load(folder)


def test_a_pickle_in_the_model_s_place_is_not_run(copy, tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    sealed_file(copy).write_bytes(pickle.dumps([Trap(), b"0" * 100_000]))
    with pytest.raises(ModelFileError, match="not a safetensors file"):
        load(copy)
    assert not (tmp_path / "trapped").exists()


def test_a_future_version_asks_for_another_release(copy, folder):
    with open_checksummed(sealed_file(copy), form=FORMAT, version=VERSION) as file:
        content = checksummed_bytes({**file.record, "new": "things"}, file.tensors(), form=FORMAT, version=2)
    sealed_file(copy).write_bytes(content)
    index = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**index, "version": 2, "new": "things"}))
    for path in (sealed_file(copy), folder):
        with pytest.raises(ModelFileError, match="version should be 1, but got 2: use another backwalk release"):
            load(path)


def test_what_is_not_there_or_no_file_is_refused(folder, tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFileError, match="cannot be read"):
        load(tmp_path / "file")
    for part in parts_of(folder):
        content = part.read_bytes()
        part.unlink()
        os.mkfifo(part)
        with pytest.raises(ModelFileError, match="should be a file"):
            load(folder)
        part.unlink()
        part.write_bytes(content)


def test_only_a_model_is_ever_overwritten_and_only_when_asked(model, copy, tmp_path):
    with pytest.raises(ModelFileError, match="exists already"):
        save(model, copy)
    other = dataclasses.replace(model, decoder_variance=0.125, denoising_error=2.0 * model.denoising_error)
    for _ in range(2):
        save(other, copy, overwrite=True)
        assert same(load(copy), other)
        assert len(parts_of(copy)) == len(list(copy.iterdir()) if copy.is_dir() else [copy])
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "letter.txt").write_text("dear")
    with pytest.raises(ModelFileError, match="holds other things"):
        save(model, tmp_path / "things", overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelFileError, match="should be a folder, but is a file"):
        save(model, tmp_path / "file", overwrite=True)
    (tmp_path / "f.safetensors").mkdir()
    with pytest.raises(ModelFileError, match="should be a file, but is a folder"):
        save(model, tmp_path / "f.safetensors", overwrite=True)
    (tmp_path / "empty").mkdir()
    save(model, tmp_path / "empty")
    assert same(load(tmp_path / "empty"), model)


def test_another_program_s_folder_is_not_overwritten(model, tmp_path):
    """Found by review: whatever had a model.json was."""
    for i, content in enumerate([b'{"class_name": "Functional"}', b"[]", b"{", b"\xff" * 10]):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / "model.json").write_bytes(content)
        (folder / "group1-shard1of1.bin").write_bytes(b"weights")
        for ask in (check_target, lambda path, **options: save(model, path, **options)):
            with pytest.raises(ModelFileError, match="holds other things than a model"):
                ask(folder, overwrite=True)
        assert (folder / "model.json").read_bytes() == content


def test_a_target_can_be_looked_at_before_training(model, folder, tmp_path):
    check_target(tmp_path / "new")
    check_target(folder, overwrite=True)
    with pytest.raises(ModelFileError, match="exists already"):
        check_target(folder)


def test_what_could_not_be_read_is_not_written(model, tmp_path, monkeypatch):
    """Found by review: such files were written, and refused ever after."""
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
    for module, limit, message in (
        (conversion, "HISTORY_LENGTH", "history.step should have at most 5 numbers"),
        (conversion, "MOST_STEPS", "schedule.log_snr should have at most 5 numbers"),
        (checksummed_module, "CHECKSUMMED_HEADER_BYTES", "its record should have at most 5 bytes"),
        (checksummed_module, "CHECKSUMMED_HEADER_VALUES", "its record should have at most 5 values"),
        (files, "MODEL_INDEX_BYTES", "model.json should have at most 5 bytes"),
        (checksummed_module, "CHECKSUMMED_BYTES", "its tensors should take at most"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, 5)
            with pytest.raises(ModelFileError, match=message):
                save(model, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("limit", "message"),
    [("HISTORY_LENGTH", "history.step should have at most 5"), ("MOST_STEPS", "log_snr should have at most 5")],
)
def test_rows_without_end_are_refused(copy, monkeypatch, limit, message):
    monkeypatch.setattr(conversion, limit, 5)
    with pytest.raises(ModelFileError, match=message):
        load(copy)


def test_json_that_takes_more_memory_than_its_text_is_refused(folder):
    for part in parts_of(folder):
        content = part.read_bytes()
        text = b'{"__metadata__": {"x": [' + b"[]," * 500_000 + b"[]]}}"
        part.write_bytes(len(text).to_bytes(8, "little") + text if part.suffix == ".safetensors" else text)
        with pytest.raises(ModelFileError, match="should have at most 160000 values, but has 1000"):
            load(folder)
        part.write_bytes(content)


def test_links_are_followed_to_a_whole_model_and_nowhere_else(model, folder, tmp_path):
    part = sealed_file(folder)
    elsewhere = part.rename(tmp_path / "elsewhere")
    for target, message in (
        ("/dev/zero", "should be a file"),
        (part, "Too many levels|Symbolic link loop"),
        (tmp_path, "should be a file"),
        (tmp_path / "nowhere", "No such file"),
        ("/etc/hosts", "not a safetensors file"),
    ):
        part.symlink_to(target)
        with pytest.raises(ModelFileError, match=message):
            load(folder)
        part.unlink()
    part.symlink_to(elsewhere)
    assert same(load(folder), model)
    save(dataclasses.replace(model, decoder_variance=0.125), folder, overwrite=True)
    assert elsewhere.exists()
    assert not sealed_file(folder).is_symlink()


def test_a_private_model_stays_private(model, folder):
    for path in parts_of(folder):
        path.chmod(0o600)
    save(dataclasses.replace(model, decoder_variance=0.125), folder, overwrite=True)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_loaded_weights_lie_where_products_are_the_same(copy):
    assert all(parameter.data_ptr() % 64 == 0 for parameter in load(copy).denoiser.parameters())


def test_a_damaged_model_can_be_replaced(model, copy):
    parts_of(copy)[0].write_text("{")
    save(model, copy, overwrite=True)
    assert same(load(copy), model)


@pytest.mark.parametrize("fails", ["model-", "model.json", "copy"])
def test_a_writer_that_fails_leaves_the_old_model_and_nothing_else(model, copy, monkeypatch, fails):
    def full(temporary, target):
        if target.name.startswith(fails):
            raise OSError(28, "No space left on device")
        temporary.rename(target)

    if copy.is_dir() == (fails == "copy"):
        pytest.skip("no such file in this form")
    monkeypatch.setattr("pathlib.Path.replace", full)
    before = sorted(path.name for path in copy.parent.rglob("*"))
    other = dataclasses.replace(model, denoising_error=2.0 * model.denoising_error)
    for one in (other, model):
        with pytest.raises(ModelFileError, match="No space left"):
            save(one, copy, overwrite=True)
        assert sorted(path.name for path in copy.parent.rglob("*")) == before
        assert same(load(copy), model)


@pytest.mark.parametrize("name", ["new", "new/newer", "new/m.safetensors"])
def test_a_first_save_that_fails_leaves_nothing_of_a_model(model, tmp_path, monkeypatch, name):
    def full(temporary, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    monkeypatch.setattr("pathlib.Path.hardlink_to", full)
    with pytest.raises(ModelFileError, match=f"{name} cannot be written: No space left"):
        save(model, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_what_killed_writers_have_left_goes_with_the_next_save(model, folder):
    for name in ("model-0123456789abcdef.safetensors", ".model.json.0123abcd.part"):
        (folder / name).write_text("half")
    save(model, folder, overwrite=True)
    assert len(list(folder.iterdir())) == 2


def test_a_reader_meets_one_whole_model_while_another_is_written(model, folder, monkeypatch):
    """The new one replaces the old between the two reads of the loader."""
    other = dataclasses.replace(model, denoising_error=2.0 * model.denoising_error)
    read, writers = files._read_file, [other]

    def slow(path, written):
        while writers:
            save(writers.pop(), folder, overwrite=True)
        return read(path, written)

    monkeypatch.setattr(files, "_read_file", slow)
    assert same(load(folder), other)


def test_writers_wait_for_each_other(model, folder, monkeypatch):
    """While one is between its two files, another thread's save does not begin."""
    slow_one, fast_one = (dataclasses.replace(model, denoising_error=k * model.denoising_error) for k in (2.0, 3.0))
    whole_file, threads, seen = files.whole_file, [], []

    def interrupted(path, **options):
        if path.name == "model.json" and not threads:
            threads.append(threading.Thread(target=save, args=(fast_one, folder), kwargs={"overwrite": True}))
            threads[0].start()
            threads[0].join(0.2)
            # The old file and the slow one's, and no third.
            seen.append(None if len(list(folder.glob("model-*"))) == 2 else sorted(folder.iterdir()))
        return whole_file(path, **options)

    monkeypatch.setattr(files, "whole_file", interrupted)
    save(slow_one, folder, overwrite=True)
    threads[0].join()
    assert (len(threads), seen) == (1, [None])
    assert same(load(folder), fast_one)
    assert len(list(folder.iterdir())) == 2


def test_two_writers_of_the_very_same_model_leave_it_whole(model, folder, monkeypatch):
    """One of them fails after the other is done: it takes away nothing that the other has named."""
    other, third = (dataclasses.replace(model, denoising_error=k * model.denoising_error) for k in (2.0, 3.0))
    save(other, folder, overwrite=True)

    def full(temporary, target):
        if target.name == "model.json":
            raise OSError(28, "No space left on device")
        temporary.rename(target)

    monkeypatch.setattr("pathlib.Path.replace", full)
    for one in (other, third):
        with pytest.raises(ModelFileError, match="No space left"):
            save(one, folder, overwrite=True)
        assert same(load(folder), other)


@pytest.mark.parametrize("name", ["model-0123456789abcdef.safetensors", ".model.json.0123abcd.part"])
def test_a_folder_in_which_the_first_writer_was_killed_can_be_saved_to(model, tmp_path, name):
    """Found by the campaign of kills: it was refused, as holding other things than a model."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / name).write_text("half")
    save(model, tmp_path / "m")
    assert same(load(tmp_path / "m"), model)
    assert len(list((tmp_path / "m").iterdir())) == 2


def test_the_litter_of_a_model_that_never_was_goes_too(model, folder):
    """Found by the campaign of killed writers."""
    (folder / ".model-0123456789abcdef.safetensors.0123abcd.part").write_text("half")
    save(model, folder, overwrite=True)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("same_content", [False, True])
def test_a_model_whose_index_is_there_is_not_taken_away(model, folder, monkeypatch, same_content):
    """Found by review: a stop after the index's renaming took away the numbers that it named, and all was lost."""

    new = model if same_content else dataclasses.replace(model, decoder_variance=0.125)
    flushed = []

    def sync(where):
        flushed.append(where)
        if len(flushed) == 2:  # of the numbers, and then of the index
            raise KeyboardInterrupt

    monkeypatch.setattr(atomic_files, "sync_folder", sync)
    with pytest.raises(KeyboardInterrupt):
        save(new, folder, overwrite=True)
    assert same(load(folder), new)


@pytest.mark.parametrize("failing", [1, 2])
def test_a_save_that_fails_before_the_index_leaves_the_old_model(model, folder, monkeypatch, failing):

    replaced = []
    replace = atomic_files.Path.replace

    def failing_replace(part, target):
        replaced.append(target)
        if len(replaced) == failing:
            raise OSError("no space")
        return replace(part, target)

    monkeypatch.setattr(atomic_files.Path, "replace", failing_replace)
    with pytest.raises(ModelFileError, match="no space"):
        save(dataclasses.replace(model, decoder_variance=0.125), folder, overwrite=True)
    monkeypatch.undo()
    assert same(load(folder), model)
    assert len(parts_of(folder)) == 2


@pytest.mark.parametrize("parameters", [{f"a{i}": 1 for i in range(101)}, {"denoiser": [{"": 0}] * 30_000}], ids=len)
def test_card_parameters_without_end_are_refused_in_a_line(saved, tmp_path, parameters):
    """Found by attack: 4.8 MiB of them took 101 MiB (the campaign of hostile model files measures their memory)."""
    shutil.copytree(saved, tmp_path / "m") if saved.is_dir() else shutil.copy(saved, tmp_path / "m.safetensors")
    target = tmp_path / ("m" if saved.is_dir() else "m.safetensors")
    change(target, record=lambda record: record["card"].update(parameters=parameters))
    with pytest.raises(ModelFileError, match=r"at most 100 items|denoiser should be") as caught:
        Diffusion.load(target)
    assert len(str(caught.value)) < 1000
