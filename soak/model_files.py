"""Model files and checkpoints: cut off, changed and made up to harm. A wrong tensor never loads."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backwalk import Diffusion
from backwalk.errors import CheckpointError, ModelFileError
from backwalk.model_file import FORMAT, VERSION, load
from backwalk.sealed import open_sealed, sealed
from backwalk.training import Trainer
from backwalk.training.checkpoint import restore
from soak.children import guarded
from soak.material import bits, estimator, fitted, mutated, rows


@cache
def _originals() -> dict[str, bytes]:
    """Return the files that are damaged: a model in one file, the two of a folder, and a checkpoint."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fitted().save(folder / "m.safetensors")
        fitted().save(folder / "m")
        estimator(max_steps=5).fit(rows(), checkpoint=folder / "c")
        (part,) = (folder / "m").glob("model-*")
        return {
            "m.safetensors": (folder / "m.safetensors").read_bytes(),
            "m/model.json": (folder / "m" / "model.json").read_bytes(),
            f"m/{part.name}": part.read_bytes(),
            "c": (folder / "c").read_bytes(),
        }


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
    yield from guarded([partial(_refused, folder, i, make) for i, make in enumerate(islice(_HOSTILE * n, n))])


def _write_all(folder: Path) -> None:
    (folder / "m").mkdir()
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
            assert bits(load(folder / name.partition("/")[0]), seconds=True) == bits(fitted().model_, seconds=True)
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
    from backwalk import estimator as module

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
    state = trainer.state()
    return {name: tensor.numpy().tobytes() for name, tensor in state.tensors.items()}, dict(state.record)


@cache
def _whole_state() -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "c"
        path.write_bytes(_originals()["c"])
        trainer = _untrained()
        restore(trainer, path)
        return _state(trainer)


def _refused(folder: Path, i: int, make: Callable[[Path], object]) -> None:
    place = folder / str(i)
    place.mkdir()
    target = place / "m.safetensors"
    made = make(place)
    if isinstance(made, bytes):
        target.write_bytes(made)
    elif isinstance(made, Path):
        target = made
    try:
        Diffusion.load(target, device="cpu")
    except ModelFileError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
    else:
        raise AssertionError(f"case {i} was taken")
    assert not (place / "trapped").exists(), "it ran"


def _parts() -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "m"
        path.write_bytes(_originals()["m.safetensors"])
        with open_sealed(path, form=FORMAT, version=VERSION) as file:
            return file.record, file.tensors()


def _record(**changes: Any) -> Callable[[Path], bytes]:
    """Return a maker of a sealed model whose record has other entries; dots lead inwards, None takes away."""

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
        return sealed(record, tensors, form=FORMAT, version=VERSION)

    return make


def _tensor(name: str, value: Callable[[torch.Tensor], torch.Tensor | None]) -> Callable[[Path], bytes]:
    def make(_: Path) -> bytes:
        record, tensors = _parts()
        changed = value(tensors.pop(name, torch.zeros(1)))
        return sealed(record, tensors if changed is None else {**tensors, name: changed}, form=FORMAT, version=VERSION)

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


def _index(**changes: Any) -> Callable[[Path], Path]:
    def make(place: Path) -> Path:
        fitted().save(place / "m")
        index = json.loads((place / "m" / "model.json").read_text())
        (place / "m" / "model.json").write_text(json.dumps({**index, **changes}))
        return place / "m"

    return make


def _link_to_nowhere(place: Path) -> Path:
    (place / "m.safetensors").symlink_to(place / "m.safetensors")
    return place / "m.safetensors"


def _pipe(place: Path) -> Path:
    os.mkfifo(place / "m.safetensors")
    return place / "m.safetensors"


_ENTER = "denoiser.network.enter.weight"
_HOSTILE: list[Callable[[Path], object]] = [
    _pickled,
    _torch_file,
    _link_to_nowhere,
    _pipe,
    lambda place: Path("/dev/zero"),
    lambda place: Path("/dev/null"),
    lambda place: b"",
    lambda place: b"[" * 1_000_000,
    lambda place: (2**63).to_bytes(8, "little") + b"{}",
    lambda place: (10**6).to_bytes(8, "little") + b'{"a":' * 200_000,
    lambda place: sealed({"deep": json.loads("[" * 500 + "]" * 500)}, {}, form=FORMAT, version=VERSION),
    lambda place: sealed({}, {}, form=FORMAT, version=VERSION),
    lambda place: sealed({}, {}, form="another", version=VERSION),
    lambda place: sealed(*_parts(), form=FORMAT, version=2),
    lambda place: sealed(*_parts(), form=FORMAT, version=-1),
    *(_index(file=name) for name in ("../m", "/etc/passwd", "model.json", "", "model-0123456789abcdef.safetensors", 3)),
    _index(version=99),
    _index(format="pickle"),
    _index(model={}),
    _index(model=3),
    _header(lambda header: header[_ENTER].update(shape=[2**63])),
    _header(lambda header: header[_ENTER].update(shape=[2**62, 4])),
    _header(lambda header: header[_ENTER].update(shape=[-1])),
    _header(lambda header: header[_ENTER].update(data_offsets=[0, 2**60])),
    _header(lambda header: header[_ENTER].update(data_offsets=[8, 0])),
    _header(lambda header: header[_ENTER].update(dtype="OBJECT")),
    _header(lambda header: header[_ENTER].update(dtype="F8_E4M3")),
    _header(lambda header: header.update(more={"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]})),
    _header(lambda header: header.pop(_ENTER)),
    _record(architecture__width=2**16, architecture__n_blocks=1000),
    _record(architecture__width=2**63),
    _record(architecture__width=-8),
    _record(architecture__width=8.0),
    _record(architecture__n_blocks=1000),
    _record(architecture__kind="Pickle"),
    _record(architecture__n_members=2**16),
    _record(floor=math.e**300),
    _record(floor=-1.0),
    _record(decoder_variance=-1.0),
    _record(reverse_variance="learned"),
    _record(prior_mismatch=-5.0),
    _record(sampler__solver="euler"),
    _record(sampler__n_evaluations=0),
    _record(history__n_steps=-1),
    _record(codec__columns=[]),
    _record(codec=None),
    _record(codec__columns=[{"kind": "scaled", "centre": 0.0, "scale": 1.0, "cell": 0.0}] * 10_000),
    _record(data_schema__columns=["a"]),
    _record(data_schema__kind="os.system"),
    _record(data_schema__dtypes=["object"] * 3),
    _record(card__parameters={"n_steps": 10**9}),
    _record(card__parameters={"denoiser": {"kind": "Residual", "width": "8; import os"}}),
    _record(card__parameters=None),
    _record(extra={"x": 1}),
    _tensor("schedule.log_snr", lambda t: torch.full_like(t, math.nan)),
    _tensor("schedule.log_snr", lambda t: t.flip(0)),
    _tensor("schedule.log_snr", lambda t: torch.linspace(9, -9, 100_000, dtype=torch.float64)),
    _tensor("schedule.log_snr", lambda t: t.float()),
    _tensor("schedule.log_snr", lambda t: None),
    _tensor("denoising_error", lambda t: -t - 1.0),
    _tensor("denoising_error", lambda t: t * math.inf),
    _tensor("history.loss", lambda t: t[:-1]),
    _tensor("history.loss", lambda t: t.to(torch.complex64)),
    _tensor(_ENTER, lambda t: t * math.nan),
    _tensor(_ENTER, lambda t: t * math.inf),
    _tensor(_ENTER, lambda t: t.double()),
    _tensor(_ENTER, lambda t: t.half()),
    _tensor(_ENTER, lambda t: t.reshape(-1)),
    _tensor(_ENTER, lambda t: torch.cat([t, t])),
    _tensor(_ENTER, lambda t: None),
    _tensor("denoiser.more", lambda t: t),
]
