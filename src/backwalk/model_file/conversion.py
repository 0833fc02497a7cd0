"""A model as a record and tensors, and a model from these, with the checks of the tensors.

A network is built only if the file holds as many weights as the sizes in the record need.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from backwalk.denoiser import (
    Architecture,
    CNNEmbedding,
    DataColumns,
    Embedding,
    EmbeddingDenoiser,
    EnsembleDenoiser,
    FCEmbedding,
    Partner,
    Probes,
    Residual,
    TableDenoiser,
    TableLayout,
    Textbook,
    answers,
    build_denoiser,
    check_answers,
    embedding_probes,
    may_be_partners,
    network_probes,
)
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import ModelFileError
from backwalk.formatting import one_line
from backwalk.limits import HISTORY_LENGTH, MOST_STEPS, Predicts
from backwalk.model import Conditions, DiffusionModel
from backwalk.model_file.record import HistoryRecord, OwnNetwork, Record
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Codec, Schema
from backwalk.training import History

_Made = TypeVar("_Made")
_HISTORY = ("step", "loss", "validation_step", "validation_loss")
_NETWORK = "denoiser."
_SERIES = ("schedule.log_snr", "denoising_error", *(f"history.{name}" for name in _HISTORY))


def tensors_of(model: DiffusionModel) -> dict[str, Tensor]:
    """Return the tensors of a model by name."""
    assert isinstance(model.denoiser, EnsembleDenoiser)  # `record_of` refuses others
    tensors = {
        f"{_NETWORK}{name}": tensor.cpu().contiguous().clone()  # safetensors refuses tensors that share memory
        for name, tensor in model.denoiser.state_dict().items()
    }
    tensors["schedule.log_snr"] = model.schedule.log_snr[1:].contiguous()
    tensors["denoising_error"] = model.denoising_error.contiguous()
    for name in _HISTORY:
        tensors[f"history.{name}"] = torch.tensor(getattr(model.history, name), dtype=torch.float64)
    return tensors


def record_of(model: DiffusionModel) -> Record:
    """Return the record of a model. Raises ModelFileError, and pydantic's ValidationError for a value out of range."""
    layout = model.denoiser.layout if isinstance(model.denoiser, TableDenoiser) else None
    return Record.model_validate(
        {
            "architecture": _architecture_record(model),
            "embedding": _embedding_record(model),
            "has_patterns": layout is not None,
            "floor": getattr(model.denoiser, "floor", 0.0),
            "partners": list(map(list, layout.partners)) if layout is not None else [],
            "codec": model.codec.to_dict(),
            "data_schema": model.schema.to_dict(),
            "reverse_variance": model.reverse_variance,
            "decoder_variance": model.decoder_variance,
            "sampler": asdict(model.sampler),
            "prior_mismatch": model.prior_mismatch,
            "history": {name: getattr(model.history, name) for name in HistoryRecord.model_fields},
            "card": model.card,
            "conditions": list(map(list, model.conditions))
            if isinstance(model.conditions, tuple)
            else model.conditions,
            "gaps": list(model.gaps),
            "held_out_distances": list(map(list, model.held_out_distances)),
            "accepted_share": model.accepted_share,
        }
    )


def _architecture_record(model: DiffusionModel) -> dict[str, Any]:
    architecture = model.architecture
    if architecture is None:
        raise ModelFileError(
            f"a model file holds networks only, but the denoiser is a {type(model.denoiser).__name__}: keep the code "
            "that makes it."
        )
    if isinstance(architecture, nn.Module):
        assert isinstance(model.denoiser, EnsembleDenoiser)
        predicts: Predicts = getattr(model.denoiser, "predicts", "F")
        probes = network_probes(model.codec.n_encoded, predicts)
        return {**_module_record(architecture, model.denoiser.network, probes), "predicts": predicts}
    return {"kind": type(architecture).__name__, **vars(architecture)}


def _embedding_record(model: DiffusionModel) -> dict[str, Any] | None:
    embedding, denoiser = model.embedding, model.denoiser
    if not isinstance(denoiser, EmbeddingDenoiser):
        return None
    if isinstance(embedding, nn.Module):
        return _module_record(embedding, denoiser.embedding, embedding_probes(denoiser.m))
    return {"kind": type(embedding).__name__, **vars(embedding)}


def _module_record(module: nn.Module, trained: nn.Module, probes: Probes) -> dict[str, Any]:
    return {"kind": "Module", "name": type(module).__name__[:200], "answers": answers(trained, probes)}


def check_tensors(tensors: dict[str, Tensor]) -> None:
    """Raise ModelFileError for tensors of a wrong name, type, length or value, before writing and after reading."""
    for name, tensor in tensors.items():
        # Finite numbers of another type may overflow when they become float32.
        if name.startswith(_NETWORK) and tensor.dtype != torch.float32:
            raise ModelFileError(f"its weights should be float32, but {name} is {tensor.dtype}.")
        if name != "schedule.log_snr" and not _is_finite(tensor):
            raise ModelFileError(f"it should hold finite numbers, but {name} does not.")
    series = {name: tensor for name, tensor in tensors.items() if not name.startswith(_NETWORK)}
    if set(series) != set(_SERIES) or any(row.ndim != 1 or row.dtype != torch.float64 for row in series.values()):
        raise ModelFileError(f"it should hold a row of float64 numbers for each of {', '.join(_SERIES)}.")
    for name in _SERIES:
        row = series[name]
        most = HISTORY_LENGTH if name.startswith("history.") else MOST_STEPS
        if len(row) > most:
            raise ModelFileError(f"{name} should have at most {most} numbers, but has {len(row)}.")
    error = series["denoising_error"]
    if len(error) != len(series["schedule.log_snr"]) + 1 or not bool((error >= 0).all()):
        raise ModelFileError("denoising_error should have one entry >= 0 per step.")
    for part in ("", "validation_"):
        if len(series[f"history.{part}step"]) != len(series[f"history.{part}loss"]):
            raise ModelFileError("the history should have a loss for every step that it names.")


def _is_finite(tensor: Tensor) -> bool:
    """Return whether all numbers are finite, in pieces, to save memory."""
    return all(bool(piece.isfinite().all()) for piece in torch.split(tensor.flatten(), 2**20))


def model_of(
    record: Record, tensors: dict[str, Tensor], network: nn.Module | None = None, embedding: nn.Module | None = None
) -> DiffusionModel:
    """Build a model from its record and tensors; weights are removed from `tensors`, to save memory.

    For a user's network, the weights are loaded into a copy of `network`, and for a user's embedding into one of
    `embedding`. Raises ModelFileError, InvalidInput and RuntimeError.
    """
    check_tensors(tensors)
    codec, schema = Codec.from_dict(record.codec), Schema.from_dict(record.data_schema)
    codec.check_schema(schema)
    architecture: Architecture = _described("denoiser", record.architecture, (Residual, Textbook), network)
    schedule = NoiseSchedule(torch.cat([torch.tensor([math.inf], dtype=torch.float64), tensors["schedule.log_snr"]]))
    d, conditions = codec.n_encoded, _conditions_of(record, schema)
    read: Embedding | None = _described("embedding", record.embedding, (CNNEmbedding, FCEmbedding), embedding)
    data = None
    if read is not None:
        if not isinstance(conditions, tuple) or len(conditions) != 1 or not record.has_patterns:
            raise ModelFileError("a model with an embedding should have one set of conditions.")
        data = DataColumns.of(codec, conditions[0])
    layout = _layout_of(record, codec if data is None else data.codec)
    of_data = None if read is None or data is None else (read, data)
    own = record.architecture if isinstance(record.architecture, OwnNetwork) else None
    predicts: Predicts = "F" if own is None else own.predicts
    denoiser = _network_of(architecture, d, schedule, record.floor, tensors, layout, of_data, predicts)
    if own is not None:
        check_answers(denoiser.network, network_probes(d, predicts), own.answers)
    if isinstance(record.embedding, OwnNetwork) and isinstance(denoiser, EmbeddingDenoiser):
        check_answers(denoiser.embedding, embedding_probes(denoiser.m), record.embedding.answers)
    history: dict[str, Any] = record.history.model_dump()
    for name in _HISTORY:
        row = tensors[f"history.{name}"]
        history[name] = tuple((row.long() if name.endswith("step") else row).tolist())
    return DiffusionModel(
        schedule=schedule,
        architecture=architecture,
        denoiser=denoiser,
        codec=codec,
        schema=schema,
        reverse_variance=record.reverse_variance,
        denoising_error=tensors["denoising_error"],
        decoder_variance=record.decoder_variance,
        sampler=_made("sampler", Sampler, record.sampler),
        prior_mismatch=record.prior_mismatch,
        history=History(**history),
        card=record.card.model_dump(exclude_unset=True),
        conditions=conditions,
        embedding=read,
        gaps=tuple(record.gaps),
        held_out_distances=tuple(map(tuple, record.held_out_distances)),
        accepted_share=record.accepted_share,
    )


def _described(parameter: str, settings: Any, kinds: tuple[type, ...], given: nn.Module | None) -> Any:
    """Return the sizes that a file's settings name, or the user's module that is `given` in place of its code."""
    if isinstance(settings, OwnNetwork):
        if given is None:
            raise ModelFileError(
                f"it holds the weights of a user's network, {settings.name}, but not its code: load it in Python by "
                f"Diffusion.load(path, {parameter}={settings.name}(...))."
            )
        return given
    if given is not None:
        raise ModelFileError(f"it holds no network of a user's as its {parameter}: leave `{parameter}` out.")
    if settings is None:
        return None
    by_name, sizes = {kind.__name__: kind for kind in kinds}, dict(settings)
    kind = by_name.get(str(sizes.pop("kind", None)))
    if kind is None:
        raise ModelFileError(f"the kind of its {parameter} should be one of {', '.join(by_name)}.")
    return _made(parameter, kind, sizes)


def _made(name: str, kind: type[_Made], values: dict[str, Any]) -> _Made:
    """Return kind(**values), which checks the values. Raises ModelFileError and InvalidInput."""
    try:
        return kind(**values)
    except TypeError as error:
        raise ModelFileError(f"in the model's record, {name}: {one_line(error)}.") from error


def _layout_of(record: Record, codec: Codec) -> TableLayout | None:
    """Return the layout of a table, or None for a network of whole rows of numbers."""
    if not record.has_patterns:
        return None
    blocks, pairs = codec.blocks, list(map(tuple, record.partners))
    is_sound = len({of for of, _ in pairs}) == len(pairs)
    if not is_sound or not all(may_be_partners(blocks, *pair) for pair in pairs):
        raise ModelFileError("partners should be one for each of some columns of levels, but it has others.")
    return TableLayout(codec, partners=[Partner.blank(blocks, *pair) for pair in pairs])


def _conditions_of(record: Record, schema: Schema) -> Conditions:
    sets = record.conditions if isinstance(record.conditions, list) else []
    if any(column >= schema.n_columns for columns in (*sets, record.gaps) for column in columns):
        raise ModelFileError(
            f"its conditions and gaps should name some of its {schema.n_columns} columns, but name others."
        )
    return tuple(map(tuple, sets)) if isinstance(record.conditions, list) else record.conditions


def _network_of(
    architecture: Architecture,
    d: int,
    schedule: NoiseSchedule,
    floor: float,
    tensors: dict[str, Tensor],
    layout: TableLayout | None = None,
    of_data: tuple[Embedding, DataColumns] | None = None,
    predicts: Predicts = "F",
) -> EnsembleDenoiser:
    """Build a network with its weights, and remove these from `tensors`."""
    weights = {name.removeprefix(_NETWORK): tensors.pop(name) for name in list(tensors) if name.startswith(_NETWORK)}
    n_weights = sum(tensor.numel() for tensor in weights.values())
    n_needed = 0
    if isinstance(architecture, Residual) and layout is not None:
        n_needed = architecture.n_parameters(layout.n_inputs, layout.n_outputs)
    elif not isinstance(architecture, nn.Module):
        n_needed = architecture.n_parameters(d)
    if n_needed > n_weights:
        raise ModelFileError(f"{_NETWORK}network should have {n_needed} weights, but has {n_weights}.")
    embedding, data = of_data or (None, None)
    denoiser = build_denoiser(
        architecture,
        d,
        schedule=schedule,
        floor=floor,
        stream=Stream(0),
        layout=layout,
        embedding=embedding,
        data=data,
        predicts=predicts,
    )
    # Copied into torch's own memory: the bits of products may depend on the alignment of the weights.
    denoiser.load_state_dict(weights)
    return denoiser
