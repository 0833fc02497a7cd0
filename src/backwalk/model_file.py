"""Models on disk: a folder of `model.json` and one safetensors file, and nothing that could be run.

`model.json` names the weights' file, whose name is made from its own checksum, and is replaced last. So whoever reads a
folder while it is written anew meets the old model or the new one, whole. Everything is checked before it is used: the
checksums of both files, every number's range, and that the weights are of the size that the settings say, before memory
is taken for them.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from backwalk.denoiser import Architecture, Residual, ResidualDenoiser, Textbook, build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.durable import whole_file
from backwalk.errors import BackwalkError, ModelFileError
from backwalk.model import DiffusionModel
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Codec, Schema
from backwalk.training import History

FORMAT: Final = "backwalk-model"
VERSION: Final = 1
MAX_JSON_BYTES = 16 * 2**20
MAX_WEIGHTS_BYTES = 4 * 2**30

_HISTORY = ("step", "loss", "validation_step", "validation_loss")
_ROWS = ("schedule.log_snr", "denoising_error", *(f"history.{name}" for name in _HISTORY))


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Textbook(_Record):
    kind: Literal["Textbook"]
    width: Annotated[int, Field(ge=1, le=65536)]
    n_hidden: Annotated[int, Field(ge=1, le=1000)]

    def architecture(self) -> Textbook:
        return Textbook(self.width, self.n_hidden)

    def n_parameters(self, d: int) -> int:
        w = self.width
        return (d + 2) * w + (self.n_hidden - 1) * (w + 1) * w + (w + 1) * d


class _Residual(_Record):
    kind: Literal["Residual"]
    width: Annotated[int, Field(ge=1, le=65536)]
    n_blocks: Annotated[int, Field(ge=1, le=1000)]
    n_members: Annotated[int, Field(ge=1, le=1000)]

    def architecture(self) -> Residual:
        return Residual(self.width, self.n_blocks, self.n_members)

    def n_parameters(self, d: int) -> int:
        w = self.width
        return self.n_members * ((d + 2) * w + 2 * self.n_blocks * (w + 1) * w + (w + 1) * d)


class _Sampler(_Record):
    solver: Literal["ancestral", "ddim", "dpm++2m", "dpm++2m-sde", "multistep"]
    n_evaluations: Annotated[int, Field(ge=1)] | None


class _History(_Record):
    loss_name: Annotated[str, Field(max_length=100)]
    n_steps: Annotated[int, Field(ge=0)]
    chosen_step: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0)]


class _Model(_Record):
    weights: Annotated[str, Field(pattern=r"^weights-[0-9a-f]{16}\.safetensors$")]
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    architecture: Annotated[_Textbook | _Residual, Field(discriminator="kind")]
    floor: Annotated[float, Field(ge=0, le=1e6)]
    codec: dict[str, Any]
    data_schema: dict[str, Any]
    reverse_variance: Literal["beta", "beta_tilde", "optimal"]
    decoder_variance: Annotated[float, Field(ge=0)]
    sampler: _Sampler
    prior_mismatch: Annotated[float, Field(ge=-1e-6)]
    history: _History
    card: dict[str, Any]


class _File(_Record):
    format: Literal["backwalk-model"]
    version: Literal[1]
    sha256: str
    model: dict[str, Any]


def save(model: DiffusionModel, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a model to the folder `path`.

    Raises ModelFileError where it exists (unless `overwrite`) or cannot be written. Only a folder that holds a model,
    or is empty, is ever overwritten.
    """
    folder = Path(path)
    try:
        if folder.exists():
            _refuse_to_overwrite(folder, overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        weights = safetensors.torch.save(_tensors(model))
        checksum = hashlib.sha256(weights).hexdigest()
        name = f"weights-{checksum[:16]}.safetensors"
        record = _model_record(model, name, checksum).model_dump()
        whole = _File(format=FORMAT, version=VERSION, sha256=_checksum(record), model=record)
        needed = before = _weights_named_in(folder)
        try:
            with whole_file(folder / name, overwrite=True) as file:
                file.write(weights)
            with whole_file(folder / "model.json", overwrite=True) as file:
                file.write(json.dumps(whole.model_dump(), indent=1, allow_nan=False).encode())
            needed = name
        finally:
            # The old weights, or after a failure the new ones. Others may belong to whoever else is writing here.
            for unused in {name, before} - {needed, None}:
                (folder / str(unused)).unlink(missing_ok=True)
    except OSError as error:
        raise ModelFileError(f"{path} cannot be written: {error.strerror or error}.") from error


def load(path: str | Path) -> DiffusionModel:
    """Return the model in the folder `path`. Raises ModelFileError where it is not one, whole and unaltered."""
    folder = Path(path)
    try:
        return _model(*_read(folder))
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise ModelFileError(f"{path} is not a backwalk model: in model.json, {where}: {first['msg']}.") from error
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from error
    except (BackwalkError, safetensors.SafetensorError, ValueError, RuntimeError, RecursionError) as error:
        text = " ".join(str(error).split())[:300]
        raise ModelFileError(f"{path} is not a whole backwalk model: {text}.") from error


def _refuse_to_overwrite(folder: Path, overwrite: bool) -> None:
    if not folder.is_dir():
        raise ModelFileError(f"{folder} should be a folder, but is a file: choose another name.")
    if not any(folder.iterdir()):
        return
    if not (folder / "model.json").is_file():
        raise ModelFileError(f"{folder} holds other things than a model: choose another name.")
    if not overwrite:
        raise ModelFileError(f"{folder} exists already: choose another name, or ask to overwrite it.")


def _tensors(model: DiffusionModel) -> dict[str, Tensor]:
    tensors = {f"denoiser.{name}": tensor.cpu().contiguous() for name, tensor in model.denoiser.state_dict().items()}
    tensors["schedule.log_snr"] = model.schedule.log_snr[1:].contiguous()
    tensors["denoising_error"] = model.denoising_error.contiguous()
    for name in _HISTORY:
        tensors[f"history.{name}"] = torch.tensor(getattr(model.history, name), dtype=torch.float64)
    return tensors


def _model_record(model: DiffusionModel, name: str, checksum: str) -> _Model:
    sizes = {"kind": type(model.architecture).__name__, **vars(model.architecture)}
    history = {field: getattr(model.history, field) for field in _History.model_fields}
    return _Model.model_validate(
        {
            "weights": name,
            "weights_sha256": checksum,
            "architecture": sizes,
            "floor": model.denoiser.floor if isinstance(model.denoiser, ResidualDenoiser) else 0.0,
            "codec": model.codec.to_dict(),
            "data_schema": model.schema.to_dict(),
            "reverse_variance": model.reverse_variance,
            "decoder_variance": model.decoder_variance,
            "sampler": {"solver": model.sampler.solver, "n_evaluations": model.sampler.n_evaluations},
            "prior_mismatch": model.prior_mismatch,
            "history": history,
            "card": model.card,
        }
    )


def _read(folder: Path) -> tuple[_Model, dict[str, Tensor]]:
    while True:
        record = _read_record(folder)
        try:
            return record, _read_weights(folder, record)
        except FileNotFoundError:
            # Replaced between the two reads; or, where the record still says the same, gone.
            if _weights_named_in(folder) == record.weights:
                raise


def _weights_named_in(folder: Path) -> str | None:
    """Return the name of the weights that a folder's model is made of, None where it holds no sound model."""
    try:
        return _read_record(folder).weights
    except (OSError, ValueError, RecursionError):
        return None


def _read_record(folder: Path) -> _Model:
    path = folder / "model.json"
    if path.exists() and not path.is_file():
        raise ModelFileError("model.json should be a file.")  # a pipe, for one, would never end
    with path.open("rb") as file:
        text = file.read(MAX_JSON_BYTES + 1)
    if len(text) > MAX_JSON_BYTES:
        raise ModelFileError(f"model.json should have at most {MAX_JSON_BYTES} bytes.")
    plain = json.loads(text)
    if isinstance(plain, dict) and plain.get("format") == FORMAT and plain.get("version") != VERSION:
        raise ModelFileError(
            f"the format version should be {VERSION}, but got {plain.get('version')!r}: use another backwalk release."
        )
    whole = _File.model_validate(plain)
    if _checksum(whole.model) != whole.sha256:
        raise ModelFileError("model.json was altered: its checksum does not match its content.")
    return _Model.model_validate(whole.model)


def _read_weights(folder: Path, record: _Model) -> dict[str, Tensor]:
    path = folder / record.weights
    size, needed = path.stat().st_size, 4 * record.architecture.n_parameters(Codec.from_dict(record.codec).n_encoded)
    if not needed < size <= MAX_WEIGHTS_BYTES:
        raise ModelFileError(
            f"{record.weights} should have more than {needed} and at most {MAX_WEIGHTS_BYTES} bytes, but has {size}."
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != record.weights_sha256:
        raise ModelFileError(f"{record.weights} was altered or is incomplete: its checksum does not match.")
    tensors = safetensors.torch.load(content)
    for name, tensor in tensors.items():
        # Numbers of another type could be finite here and overflow in the network.
        if name.startswith("denoiser.") and tensor.dtype != torch.float32:
            raise ModelFileError(f"{record.weights} should hold float32 weights, but {name} is {tensor.dtype}.")
        if not bool(tensor.isfinite().all()) and name != "schedule.log_snr":
            raise ModelFileError(f"{record.weights} should hold finite numbers, but {name} does not.")
    return tensors


def _model(record: _Model, tensors: dict[str, Tensor]) -> DiffusionModel:
    rows = {name: tensor for name, tensor in tensors.items() if not name.startswith("denoiser.")}
    if set(rows) != set(_ROWS) or any(row.ndim != 1 or row.dtype != torch.float64 for row in rows.values()):
        raise ModelFileError(f"{record.weights} should hold a row of float64 numbers for each of {', '.join(_ROWS)}.")
    architecture: Architecture = record.architecture.architecture()
    codec, schema = Codec.from_dict(record.codec), Schema.from_dict(record.data_schema)
    if codec.n_columns != schema.n_columns:
        raise ModelFileError(f"the codec has {codec.n_columns} columns, but the schema {schema.n_columns}.")
    schedule = NoiseSchedule(torch.cat([torch.tensor([math.inf], dtype=torch.float64), tensors["schedule.log_snr"]]))
    denoiser = build_denoiser(architecture, codec.n_encoded, schedule=schedule, floor=record.floor, stream=Stream(0))
    denoiser.load_state_dict(
        {name.removeprefix("denoiser."): tensor for name, tensor in tensors.items() if name.startswith("denoiser.")}
    )
    error = tensors["denoising_error"]
    if error.shape != schedule.log_snr.shape or not bool((error >= 0).all()):
        raise ModelFileError("denoising_error should have one entry >= 0 a step.")
    step, loss, validation_step, validation_loss = (tensors[f"history.{name}"].tolist() for name in _HISTORY)
    if len(step) != len(loss) or len(validation_step) != len(validation_loss):
        raise ModelFileError("the history should have a loss for every step that it names.")
    return DiffusionModel(
        schedule=schedule,
        architecture=architecture,
        denoiser=denoiser,
        codec=codec,
        schema=schema,
        reverse_variance=record.reverse_variance,
        denoising_error=error,
        decoder_variance=record.decoder_variance,
        sampler=Sampler(record.sampler.solver, record.sampler.n_evaluations),
        prior_mismatch=record.prior_mismatch,
        history=History(
            step=tuple(map(int, step)),
            loss=tuple(loss),
            validation_step=tuple(map(int, validation_step)),
            validation_loss=tuple(validation_loss),
            **record.history.model_dump(),
        ),
        card=record.card,
    )


def _checksum(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, allow_nan=False).encode()).hexdigest()
