"""Model files and checkpoints: cut off, changed and made up to harm. A wrong tensor never loads."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backwalk import Diffusion
from backwalk.checksummed import checksummed_bytes, open_checksummed
from backwalk.errors import CheckpointError, ModelFileError
from backwalk.model_file import FORMAT, VERSION, load
from backwalk.training import Trainer
from backwalk.training.checkpoint import FORMAT as CHECKPOINT_FORMAT
from backwalk.training.checkpoint import VERSION as CHECKPOINT_VERSION
from backwalk.training.checkpoint import restore
from soak.children import guarded
from soak.material import bits, estimator, fitted, mutated, resident, rows


@cache
def _originals() -> dict[str, bytes]:
    """Return the files that are damaged: a model and a checkpoint."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fitted().save(folder / "m.safetensors")
        estimator(max_steps=5).fit(rows(), checkpoint=folder / "c")
        return {name: (folder / name).read_bytes() for name in ("m.safetensors", "c")}


def truncated(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of files cut off after every byte (or at n places)."""
    del seed
    cuts = [(name, length) for name, content in _originals().items() for length in range(len(content))]
    chosen = [cuts[i] for i in np.unique(np.linspace(0, len(cuts) - 1, min(n, len(cuts))).astype(int))]
    _write_all(folder)
    yield from guarded([partial(_damaged, folder, name, lambda s=name, k=k: _originals()[s][:k]) for name, k in chosen])


def mutations(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of files in which a few bytes are others."""
    _write_all(folder)
    names = list(_originals())

    def make(name: str, i: int) -> bytes:
        return mutated(_originals()[name], np.random.default_rng([seed, i]))

    cases = [(names[i % len(names)], i) for i in range(n)]
    yield from guarded([partial(_damaged, folder, name, partial(make, name, i)) for name, i in cases])


def hostile(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of files that are sound in form and made to harm: each is refused, and nothing runs."""
    del seed
    # What PyTorch imports at a first network of a kind, some 50 MiB, is no file's.
    (folder / "first.safetensors").write_bytes(_another_kind(folder))
    with suppress(ModelFileError):
        load(folder / "first.safetensors")
    cases = islice(_HOSTILE * n, n)
    yield from guarded([partial(_refused, folder, i, make, words) for i, (make, words) in enumerate(cases)])


def hostile_checkpoints(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of checkpoints whose seal is right, and whose state is that of no run."""
    del seed
    _write_all(folder)
    cases = islice(_HOSTILE_STATES * n, n)
    yield from guarded([partial(_state_refused, folder / "c", changes) for changes in cases])


def _write_all(folder: Path) -> None:
    for name, content in _originals().items():
        (folder / name).write_bytes(content)


def _damaged(folder: Path, name: str, make: Callable[[], bytes]) -> None:
    """Put one damaged file in the place of the whole one; it is refused, or gives the very same."""
    path = folder / name
    path.write_bytes(make())
    try:
        if name == "c":
            trainer = _untrained()
            restore(trainer, path)
            assert _state(trainer) == _whole_state()
        else:
            assert bits(load(folder / name), seconds=True) == bits(fitted().model_, seconds=True)
    except (ModelFileError, CheckpointError) as error:
        assert "\n" not in str(error)
        assert str(folder) in str(error)
        assert len(str(error)) < 1000
    finally:
        path.write_bytes(_originals()[name])


class _Taken(Exception):
    """Carries a trainer out of a fit."""


def _untrained() -> Trainer:
    """Return the trainer of the fit that the checkpoint is of."""
    from backwalk.fitting import fit as module

    class Taker(module.Trainer):
        def run(self) -> Any:
            raise _Taken(self)

    before, module.Trainer = module.Trainer, Taker  # type: ignore[misc]
    try:
        estimator(max_steps=5).fit(rows())
    except _Taken as taken:
        trainer: Trainer = taken.args[0]
        return trainer
    finally:
        module.Trainer = before  # type: ignore[misc]
    raise AssertionError("no trainer was made")


def _state(trainer: Trainer) -> Any:
    tensors, record = trainer.state()
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}, record


@cache
def _whole_state() -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "c"
        path.write_bytes(_originals()["c"])
        trainer = _untrained()
        restore(trainer, path)
        return _state(trainer)


def _refused(folder: Path, i: int, make: Callable[[Path], object], words: str) -> None:
    place = folder / str(i)
    place.mkdir()
    target = place / "m.safetensors"
    made = make(place)
    if isinstance(made, bytes):
        target.write_bytes(made)
    elif isinstance(made, Path):
        target = made
    with _within_memory(target):
        try:
            Diffusion.load(target, device="cpu")
        except ModelFileError as error:
            text = str(error)
        else:
            raise AssertionError(f"case {i} was taken")
    assert "\n" not in text
    assert len(text) < 1000
    assert str(target) in text
    assert all(word in text for word in words.split()), f"case {i} should say {words!r}: {text}"
    assert not (place / "trapped").exists(), "it ran"


def _state_refused(path: Path, changes: dict[str, Any]) -> None:
    """Put other tensors and entries of the record (None: none) into a checkpoint; it is refused, and no run goes on."""
    path.write_bytes(_originals()["c"])
    with open_checksummed(path, form=CHECKPOINT_FORMAT, version=CHECKPOINT_VERSION) as file:
        record, tensors = file.record, file.tensors()
    for name, value in changes.items():
        for place in (record, tensors):
            place.pop(name, None)
        if value is not None:
            (tensors if isinstance(value, torch.Tensor) else record)[name] = value
    path.write_bytes(_with_huge(checksummed_bytes(record, tensors, form=CHECKPOINT_FORMAT, version=CHECKPOINT_VERSION)))
    trainer = _untrained()
    with _within_memory(path):
        try:
            restore(trainer, path)
        except CheckpointError as error:
            text = str(error)
        else:
            raise AssertionError(f"{changes} were taken")
    assert "\n" not in text
    assert len(text) < 1000
    assert "holds no state of such a fit" in text or "belongs to another fit" in text, text


def _with_huge(content: bytes) -> bytes:
    """Return a checksummed file with 1e999 for each text "HUGE" in its record, and the checksum that belongs to it."""
    length = int.from_bytes(content[:8], "little")
    text = content[8 : 8 + length].replace(b'\\"HUGE\\"', b"1e999 ")
    if text == content[8 : 8 + length]:
        return content
    whole = json.loads(json.loads(text)["__metadata__"]["backwalk"])
    text = text.replace(whole["sha256"].encode(), b"0" * 64)
    text += b" " * (length - len(text))
    raw = content[:8] + text + content[8 + length :]
    return raw.replace(b"0" * 64, hashlib.sha256(raw).hexdigest().encode(), 1)


@contextmanager
def _within_memory(path: Path) -> Iterator[None]:
    """Check that a block takes at most twice the size of what is read, and 32 MiB, at its peak."""
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    yield
    size = path.stat().st_size if path.is_file() else 0
    took = resident("VmHWM") - before
    assert took <= 2 * size + 32 * 2**20, f"{took / 2**20:.0f} MiB for {size / 2**20:.0f}"


def _parts() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "m"
        path.write_bytes(_originals()["m.safetensors"])
        with open_checksummed(path, form=FORMAT, version=VERSION) as file:
            return file.record, file.tensors()


def _record(**changes: Any) -> Callable[[Path], bytes]:
    """Return a maker of a checksummed model whose record has other entries; dots lead inwards, None takes away."""

    def make(_: Path) -> bytes:
        record, tensors = _parts()
        for name, value in changes.items():
            *path, last = name.split("__")
            place = record
            for step in path:
                place = place[step]
            if value is None:
                place.pop(last)
            else:
                place[last] = value
        return checksummed_bytes(record, tensors, form=FORMAT, version=VERSION)

    return make


_another_kind = _record(architecture={"kind": "Textbook", "width": 3, "n_hidden": 1})


def _tensor(name: str, value: Callable[[torch.Tensor], torch.Tensor | None]) -> Callable[[Path], bytes]:
    def make(_: Path) -> bytes:
        record, tensors = _parts()
        changed = value(tensors.pop(name, torch.zeros(1)))
        return checksummed_bytes(
            record, tensors if changed is None else {**tensors, name: changed}, form=FORMAT, version=VERSION
        )

    return make


def _header(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], bytes]:
    """Return a maker of a file whose safetensors header was rewritten by hand, under a right checksum."""

    def make(_: Path) -> bytes:
        content = _originals()["m.safetensors"]
        length = int.from_bytes(content[:8], "little")
        header, zeros = json.loads(content[8 : 8 + length]), "0" * 64
        whole = json.loads(header["__metadata__"]["backwalk"])
        header["__metadata__"]["backwalk"] = json.dumps({**whole, "sha256": zeros})
        change(header)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        raw = len(text).to_bytes(8, "little") + text + content[8 + length :]
        return raw.replace(zeros.encode(), hashlib.sha256(raw).hexdigest().encode(), 1)

    return make


def _pickled(place: Path) -> bytes:
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(place / "trapped"),))

    return pickle.dumps([Trap(), b"0" * 10_000])


def _torch_file(place: Path) -> bytes:
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(place / "trapped"),))

    torch.save({"weights": Trap()}, place / "t")
    return (place / "t").read_bytes()


def _link_to_nowhere(place: Path) -> Path:
    (place / "m.safetensors").symlink_to(place / "m.safetensors")
    return place / "m.safetensors"


def _pipe(place: Path) -> Path:
    os.mkfifo(place / "m.safetensors")
    return place / "m.safetensors"


_ENTER = "denoiser.network.enter.weight"
_NUMBER = {"kind": "number", "centre": 0.0, "scale": 1.0, "least": None, "largest": None}
_HEAVY = {**_NUMBER, "kind": "heavy-tailed", "asinh_centre": 0.0, "asinh_scale": 1.0}
_INTEGER = {
    "kind": "integer",
    "number": _NUMBER,
    "least": 0.0,
    "largest": 3.0,
    "dequantisation": "cosine",
    "step": 1.0,
    "offset": 0.0,
    "per": 1.0,
}
_CONSTANT = {"kind": "constant", "value": 1.0}
_WIDE = (2**40, 2**40)
_HOSTILE: list[tuple[Callable[[Path], object], str]] = [
    (_pickled, "not a safetensors file"),
    (_torch_file, "not a safetensors file"),
    (_link_to_nowhere, "cannot be read"),
    (_pipe, "should be a file"),
    (lambda place: Path("/dev/zero"), "cannot be read"),
    (lambda place: Path("/dev/null"), "cannot be read"),
    (lambda place: b"", "not a safetensors file"),
    (lambda place: b"[" * 1_000_000, "not a safetensors file"),
    (lambda place: b"PK\x03\x04" + b"\0" * 1000, "safetensors file"),
    (lambda place: b"\x89HDF\r\n\x1a\n" + b"\0" * 1000, "not a safetensors file"),
    (lambda place: b"import os; os.system('touch trapped')", "not a safetensors file"),
    (lambda place: (2**63).to_bytes(8, "little") + b"{}", "not a safetensors file"),
    (lambda place: (2**64 - 1).to_bytes(8, "little") + b"{}" * 100, "not a safetensors file"),
    (lambda place: (750_000).to_bytes(8, "little") + b'{"a":' * 150_000, "without the record"),
    (lambda place: (4).to_bytes(8, "little") + b"null", "without the record"),
    (lambda place: (2**21).to_bytes(8, "little") + b"[]," * 2**20, "at most 160000 values"),
    (lambda place: (2**23).to_bytes(8, "little") + b" " * 2**23, "not a safetensors file"),
    (
        lambda place: checksummed_bytes({"deep": json.loads("[" * 500 + "]" * 500)}, {}, form=FORMAT, version=VERSION),
        "record",
    ),
    (lambda place: checksummed_bytes({}, {}, form=FORMAT, version=VERSION), "architecture required"),
    (lambda place: checksummed_bytes({}, {}, form="another", version=VERSION), "should be a backwalk-model"),
    (lambda place: checksummed_bytes({}, {}, form=CHECKPOINT_FORMAT, version=VERSION), "should be a backwalk-model"),
    (
        lambda place: checksummed_bytes(*_parts(), form=FORMAT, version=VERSION + 1),
        f"version should be {VERSION}, but got {VERSION + 1}",
    ),
    (lambda place: checksummed_bytes(*_parts(), form=FORMAT, version=-1), f"version should be {VERSION}, but got -1"),
    (_header(lambda header: header[_ENTER].update(shape=[2**63])), "tensors cannot be read"),
    (_header(lambda header: header[_ENTER].update(shape=[2**62, 4])), "tensors cannot be read"),
    (_header(lambda header: header[_ENTER].update(shape=[-1])), "tensors cannot be read"),
    (_header(lambda header: header[_ENTER].update(data_offsets=[0, 2**60])), "tensors cannot be read"),
    (_header(lambda header: header[_ENTER].update(data_offsets=[8, 0])), "tensors cannot be read"),
    (_header(lambda header: header[_ENTER].update(dtype="OBJECT")), "tensors cannot be read"),
    (_header(lambda header: header[_ENTER].update(dtype="F8_E4M3")), "tensors cannot be read"),
    (
        _header(lambda header: header.update(more={"dtype": "F32", "shape": _WIDE, "data_offsets": [0, 4]})),
        "tensors cannot be read",
    ),
    (_header(lambda header: header.update(more={**header[_ENTER]})), "tensors cannot be read"),
    (_header(lambda header: header.pop(_ENTER)), "tensors cannot be read"),
    (_header(lambda header: header["__metadata__"].update(more=3)), "tensors cannot be read"),
    (_record(architecture__width=2**16, architecture__n_blocks=1000), "should take bytes"),
    (_record(architecture__width=2**63), "architecture width"),
    (_record(architecture__width=-8), "architecture width"),
    (_record(architecture__width=8.0), "architecture width"),
    (_record(architecture__n_blocks=1000), "should take bytes"),
    (_record(architecture__n_blocks=0), "architecture n_blocks"),
    (_record(architecture__kind="Pickle"), "architecture"),
    (_record(architecture__n_members=2**16), "should take bytes"),
    (_another_kind, "loading state_dict"),
    (_record(floor=math.e**300), "floor"),
    (_record(floor=-1.0), "floor"),
    (_record(decoder_variance=-1.0), "decoder_variance"),
    (_record(decoder_variance="0"), "decoder_variance"),
    (_record(reverse_variance="learned"), "reverse_variance"),
    (_record(prior_mismatch=-5.0), "prior_mismatch"),
    (_record(sampler__solver="euler"), "sampler solver"),
    (_record(sampler__n_evaluations=0), "sampler n_evaluations"),
    (_record(history__n_steps=-1), "history n_steps"),
    (_record(history__chosen_step=1.5), "history chosen_step"),
    (_record(history__seconds=-1.0), "history seconds"),
    (_record(history__loss_name="x" * 101), "history loss_name"),
    (_record(codec__columns=[]), "column"),
    (_record(codec__columns=[_CONSTANT] * 3), "column should vary"),
    (_record(codec__columns=[{**_NUMBER, "scale": 0.0}] * 3), "scale should be"),
    (_record(codec__columns=[{**_NUMBER, "centre": "x"}] * 3), "centre finite float"),
    (_record(codec__columns=[{**_INTEGER, "least": 4.0}] * 3), "least should be at most largest"),
    (_record(codec__columns=[{**_INTEGER, "dequantisation": True}] * 3), "dequantisation should be"),
    (_record(codec__columns=[{**_INTEGER, "number": _CONSTANT}] * 3), "number should be"),
    (_record(codec__columns=[{**_NUMBER, "kind": "eval"}] * 3), "column should be one of"),
    (_record(codec__columns=[{**_NUMBER, "more": 0.0}] * 3), "column should be one of"),
    (_record(codec__columns=[{**_HEAVY, "asinh_scale": 0.0}] * 3), "asinh_scale should be"),
    (_record(codec__columns=[{**_HEAVY, "asinh_scale": 1e-320}] * 3), "asinh_scale should be"),
    (_record(codec__columns=[{**_HEAVY, "asinh_centre": 10**400}] * 3), "asinh_centre finite float"),
    (_record(codec__columns=[{**_HEAVY, "kind": "number"}] * 3), "column should be one of"),
    (_record(codec__columns=[_NUMBER, _NUMBER]), "codec has 2 columns, but the schema 3"),
    (_record(codec=None), "codec required"),
    (_record(codec__columns=[_NUMBER] * 10_000), "should take bytes"),
    (_record(data_schema__columns=["a"]), "a dtype for each column"),
    (_record(data_schema__columns=["a", "a", "b"]), "names should differ"),
    (_record(data_schema__columns=["a", 3, None]), "lists of texts"),
    (_record(data_schema__kind="os.system"), "kind should be one of"),
    (_record(data_schema__kind="polars"), "should have column names"),
    (_record(data_schema__dtypes=["object"] * 3), "no dtype 'object'"),
    (_record(card__parameters={"n_steps": 10**9}), "card n_steps should be"),
    (_record(card__parameters={"denoiser": {"kind": "Residual", "width": "8; import os"}}), "card width should be"),
    (_record(card__parameters={"device": "cuda:7"}), "card should not set device"),
    (_record(card__parameters={"callbacks": ["print"]}), "card should not set callbacks"),
    (_record(card__parameters={"max_time": 10**400}), "card max_time should be"),
    (_record(card__parameters={"nothing": 1}), "card nothing"),
    (_record(card__parameters=None), "card.parameters required"),
    (_record(card__parameters={f"{i:x}": 1 for i in range(150_000)}), "card.parameters at most 100"),
    (_record(card__parameters={"denoiser": [{f"{i}": {}} for i in range(50_000)]}), "card denoiser"),
    (_record(card__versions={"torch": ["x"]}), "card.versions.torch"),
    (_record(card__fit_seconds="x"), "card.fit_seconds"),
    (_record(card__description=3), "card.description"),
    (_record(card__more="x"), "card.more"),
    (_record(card={}), "card.description required"),
    (_record(extra={"x": 1}), "extra"),
    (_tensor("schedule.log_snr", lambda t: torch.full_like(t, math.nan)), "should decrease"),
    (_tensor("schedule.log_snr", lambda t: t.flip(0)), "should decrease"),
    (
        _tensor("schedule.log_snr", lambda t: torch.linspace(9, -9, 10**6 + 1, dtype=torch.float64)),
        "log_snr should have at most 1000000 numbers",
    ),
    (_tensor("schedule.log_snr", lambda t: t.float()), "row of float64 numbers"),
    (_tensor("schedule.log_snr", lambda t: t[:0]), "one entry a step"),
    (_tensor("schedule.log_snr", lambda t: None), "row of float64 numbers"),
    (_tensor("denoising_error", lambda t: -t - 1.0), "denoising_error should"),
    (_tensor("denoising_error", lambda t: t * math.inf), "finite numbers, but denoising_error"),
    (_tensor("denoising_error", lambda t: t[:-1]), "denoising_error should"),
    (_tensor("history.loss", lambda t: t[:-1]), "loss for every step"),
    (_tensor("history.loss", lambda t: t * math.nan), "finite numbers, but history.loss"),
    (_tensor("history.loss", lambda t: t.to(torch.complex64)), "row of float64 numbers"),
    (_tensor("history.step", lambda t: t.reshape(1, -1)), "row of float64 numbers"),
    (_tensor("history.step", lambda t: t.new_zeros(2**18 + 1)), "history.step should have at most 262144 numbers"),
    (_tensor("history.more", lambda t: t.double()), "row of float64 numbers"),
    (_tensor(_ENTER, lambda t: t * math.nan), f"finite numbers, but {_ENTER}"),
    (_tensor(_ENTER, lambda t: t * math.inf), f"finite numbers, but {_ENTER}"),
    (_tensor(_ENTER, lambda t: t.double()), "weights should be float32"),
    (_tensor(_ENTER, lambda t: t.half()), "cannot be read"),
    (_tensor(_ENTER, lambda t: t.reshape(-1)), "size mismatch"),
    (_tensor(_ENTER, lambda t: torch.cat([t, t])), "size mismatch"),
    (_tensor(_ENTER, lambda t: None), "cannot be read"),
    (_tensor("denoiser.more", lambda t: t), "more"),
]


def _rows_of(n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.float64)


_HOSTILE_STATES: list[dict[str, Any]] = [
    *({name: None} for name in ("fingerprint", "step", "seconds", "diverged", "choice", "weights.0", "average.0")),
    *({name: None} for name in ("adam.mean.0", "adam.mean_square.1", "losses.step", "chosen.by_row", "chosen.0")),
    *({"adam.mean.0": torch.zeros(shape)} for shape in ((), (1,), (0,), (2, 3), (2**10,))),
    *({"adam.mean_square.0": torch.zeros(shape)} for shape in ((), (1,), (2, 3))),
    *({"adam.mean.0": torch.zeros(1, dtype=dtype)} for dtype in (torch.float64, torch.int64, torch.bool)),
    {"adam.step": torch.zeros(7)},
    {"adam.0.step": torch.zeros((), dtype=torch.int64)},
    {"adam.mean": torch.zeros(3)},
    {"adam.mean.999": torch.zeros(3)},
    {"adam.mean.-1": torch.zeros(3)},
    {"adam.x": torch.zeros(3)},
    {"weights.0": torch.zeros(1)},
    {"average.0": torch.zeros(1)},
    {"chosen.0": torch.zeros(1)},
    *({"step": value} for value in ("HUGE", -1, 10**9, 2.5, "many", None, True, [], 10**400)),
    *({"seconds": value} for value in ("HUGE", -1.0, "many", None, [])),
    *(
        {"choice": value}
        for value in ([1], {"chosen": "HUGE"}, {"chosen": -1}, {"chosen": "x"}, {"last": {}}, {"chosen": 1}, 3)
    ),
    {
        "diverged": True,
        "choice": {},
        **{f"{kept}.{part}": None for kept in ("chosen", "best") for part in ("by_row", *range(8))},
    },
    *({"ended_after": value} for value in ("HUGE", -1.0, "soon", None, [])),
    {"fingerprint": {}},
    {"fingerprint": []},
    {"fingerprint": "x"},
    {"last.by_row": _rows_of(1)},
    {"last.by_row": torch.full((30,), math.nan, dtype=torch.float64)},
    {"losses.step": _rows_of(9_999)},
    {"losses.step": torch.full((5,), math.inf, dtype=torch.float64)},
    {"losses.loss": torch.full((5,), math.nan, dtype=torch.float64)},
    {"losses.step": torch.zeros(5, 5, dtype=torch.float64)},
    {"losses.step": _rows_of(0), "losses.loss": _rows_of(0)},
    {"validations.step": _rows_of(3)},
]
