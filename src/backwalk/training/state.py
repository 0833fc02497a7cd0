"""The state of a run, as named tensors and JSON values, and the fingerprint that identifies a run.

A run continues bit for bit from its `TrainerState`, as all draws are functions of the seed and the step's number.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import backwalk
from backwalk.denoiser import EnsembleDenoiser
from backwalk.streams import Stream
from backwalk.training.config import Training
from backwalk.training.noise_levels import NoiseLevels
from backwalk.training.patterns import Patterns
from backwalk.training.validation import Candidate, Choice


@dataclass(frozen=True, eq=False)
class TrainerState:
    """`tensors` by name, and a `record` of JSON values."""

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]


def network_words(denoiser: EnsembleDenoiser) -> str:
    """Return a digest of a denoiser's weights and buffers, with its plain attributes."""
    plain = {name: value for name, value in vars(denoiser).items() if isinstance(value, (int, float, tuple))}
    return f"{_digest([*denoiser.parameters(), *denoiser.buffers()])} {plain}"


def fingerprint(
    network: str,
    x_0: Tensor,
    x_validation: Tensor | None,
    levels: NoiseLevels,
    training: Training,
    stream: Stream,
    of_rows: Sequence[Tensor] = (),
    patterns: Patterns | None = None,
    *,
    by_clock: bool = False,
) -> dict[str, str]:
    """Return everything that determines a run's result: rows, initial weights, noise levels, settings, seed, versions.

    Bits also depend on the kind of processor, which is left out, so that another machine can continue a fit. A GPU's
    fit cannot continue on a CPU, where members of an ensemble are laid out differently. `network` are the
    `network_words` of the untrained denoiser. `by_clock` says whether the rates follow the time. Fixed noise and
    weights, `of_rows`, count as rows. Noise levels are identified by a draw. bfloat16, whose default depends on the
    device, has its own entry.
    """
    drawn = levels.draw(1, 4096, stream=Stream(0))
    plan = asdict(training)
    products = "bfloat16" if plan.pop("bfloat16") else "float32"
    return {
        "rows": _digest([x_0, *of_rows]),
        "validation rows": _digest([] if x_validation is None else [x_validation]),
        "network": network,
        "device": x_0.device.type,
        "noise levels": _digest([drawn, levels.weight(drawn)]),
        "training plan": str(plan),
        "patterns": str(patterns),
        "products (by default the device's)": products,
        "seed": str(stream.seed),
        "purpose": "/".join(map(str, stream.path)),
        "max_time (given or None)": str(by_clock),
        "versions": f"backwalk {backwalk.__version__}, torch {torch.__version__}, numpy {np.__version__}",
    }


def choice_state(choice: Choice) -> TrainerState:
    """Return a choice of weights as a state."""
    chosen, tensors = choice.chosen, dict[str, Tensor]()
    if chosen is not None:
        tensors |= {"chosen.by_row": chosen.by_row, **numbered("chosen", chosen.weights)}
    if choice.best is not None:
        tensors["best.by_row"] = choice.best.clone()  # it may be that of the chosen weights
    return TrainerState(
        tensors, {} if chosen is None else {"chosen": chosen.step, "last": choice.step, "worse": choice.n_worse}
    )


def restored_choice(state: TrainerState, like: list[Tensor], n_validation: int, step: int) -> Choice:
    """Return the choice of weights of a run at `step`, with weights on the device of the parameters `like`.

    Raises KeyError, TypeError or ValueError for an invalid state.
    """
    choice = Choice()
    if not state.record:
        return choice
    weights, by_row = (
        [torch.empty_like(parameter) for parameter in like],
        torch.empty(n_validation, dtype=torch.float64),
    )
    own = {"chosen.by_row": by_row, **numbered("chosen", weights)}
    if n_validation:
        choice.best = own["best.by_row"] = torch.empty_like(by_row)
    fill(own, state.tensors)
    choice.step = whole_number(state.record["last"], "the step of the last weights", step)
    chosen = whole_number(state.record["chosen"], "the step of the chosen weights", choice.step)
    choice.n_worse = whole_number(state.record["worse"], "the number of worse weights")
    choice.chosen = Candidate(chosen, by_row, weights)
    if not choice.chosen.is_finite or (choice.best is not None and not bool(choice.best.isfinite().all())):
        raise ValueError("the chosen weights and their losses should be finite")
    return choice


def restored_records(tensors: Mapping[str, Tensor], name: str) -> list[tuple[int, float]]:
    """Return the recorded pairs (step, loss). Raises KeyError or ValueError for an invalid state."""
    steps, losses = tensors[f"{name}.step"], tensors[f"{name}.loss"]
    for row in (steps, losses):
        if row.ndim != 1 or row.dtype != torch.float64 or not bool(row.isfinite().all()):
            raise ValueError(f"{name} should be rows of finite float64 numbers")
    return list(zip(map(int, steps.tolist()), losses.tolist(), strict=True))


def whole_number(value: object, name: str, most: float = math.inf) -> int:
    """Return an integer in 0..most. Raises ValueError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{name} should be a whole number in 0..{most:g}, but got {str(value)[:80]!r}")
    return value


def seconds(value: object) -> float:
    """Return a finite number of seconds >= 0. Raises ValueError for anything else."""
    if not isinstance(value, (int, float)) or not 0.0 <= value < math.inf:
        raise ValueError(f"seconds should be a number >= 0, but got {str(value)[:80]!r}")
    return float(value)


def numbered(name: str, tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return tensors by name: name.0, name.1, ..."""
    return {f"{name}.{i}": tensor.detach() for i, tensor in enumerate(tensors)}


@torch.no_grad()
def fill(targets: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    """Copy the tensors of `source` into those of the same names. Raises ValueError for another shape or dtype."""
    for name, target in targets.items():
        if source[name].shape != target.shape or source[name].dtype != target.dtype:
            raise ValueError(f"{name} should be {target.dtype} of shape {tuple(target.shape)}")
        target.copy_(source[name])


def _digest(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        digest.update(plain.numpy().reshape(-1).data)
    return digest.hexdigest()[:32]
