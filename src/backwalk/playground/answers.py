"""What the page shows of a model from Python: its chain, single steps, fields and bound, computed once.

The page computes its own models itself. A model from Python may have any network, schedule, solver and columns, so its
answers are stored in the page: those of two of its columns, under its own sampler.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion import eps_from_x_0, score_from_x_0
from backwalk.errors import InvalidInput
from backwalk.formatting import as_json
from backwalk.model import (
    DiffusionModel,
    bound,
    denoise,
    log_density,
    mismatch_warning,
    row_steps,
    sample_rows,
    walk,
)
from backwalk.playground.plane import Plane, choose_plane, packed
from backwalk.sampling import ChainState, Sampler, choose_sampler, tile_of
from backwalk.streams import Stream

Array = NDArray[np.float64]
N_POINTS, N_PARTICLES, N_LEVELS, N_BOUND = 1500, 12, 8, 500
_MOST_FRAMES, _MOST_EVALUATIONS = 121, 50  # of the picture, and of a single row's steps
_FIELD = 22  # points of a grid's side
_LARGEST_LOG_SNR = 700.0  # whose exponential is a number
_SEED = 0


def answers_of(
    model: DiffusionModel,
    rows: Array | None = None,
    *,
    columns: Sequence[str | int] | None = None,
    title: str = "Your model",
) -> dict[str, Any]:
    """Return the stored answers for the page, as JSON values.

    `rows`, (n, d), are data from which the forward chain starts; without any it starts from rows of the model.
    Raises InvalidInput for a model of fewer than two numbers, and for columns that are no two numbers.
    """
    if columns is not None and len(columns) != 2:
        raise InvalidInput(f"columns should be two names, but got {list(columns)!r}: the page shows a plane.")
    data = sample_rows(model, 0, N_POINTS, stream=Stream(_SEED).child("own")) if rows is None else rows[:N_POINTS]
    plane = choose_plane(model, columns, model.codec.encode(data, stream=Stream(_SEED).child("cells")))
    paper = choose_sampler(
        model.sampler, model.schedule, "ancestral", min(_MOST_EVALUATIONS, model.schedule.n_steps), 0.0
    )
    times = paper.times(model.schedule)
    levels = sorted({times[round(i)] for i in np.linspace(0, len(times) - 1, min(N_LEVELS, len(times)))})
    answers = {
        "card": _card(model, title),
        "chain": _chain(model, plane, data, "model" if rows is None else "data"),
        "particles": _particles(model, plane, paper),
        "fields": [_field(model, plane, t, what) for t in levels for what in ("score", "x_0_hat", "eps")],
        "bound": _bound(model, data[:N_BOUND], "rows of the model" if rows is None else "rows of the data"),
        "code": {"python": _code(model), "note": ""},
    }
    return as_json(answers)  # type: ignore[no-any-return]


def _card(model: DiffusionModel, title: str) -> dict[str, Any]:
    schedule = model.schedule
    return {
        "title": title,
        "schedule": {
            "n_steps": schedule.n_steps,
            "alpha_bar": schedule.alpha_bar,
            "log_snr": schedule.log_snr[1:].clamp(-_LARGEST_LOG_SNR, _LARGEST_LOG_SNR),
        },
        "prior_mismatch": model.prior_mismatch,
        "warning": mismatch_warning(model.prior_mismatch, schedule),
        "n_parameters": model.card.get("n_parameters"),
        "words": repr(model).splitlines(),
    }


def _chain(model: DiffusionModel, plane: Plane, data: Array, origin: str) -> dict[str, Any]:
    """Return the model's own chain: forward from data, backward from noise, and x_0_hat, at the same noise levels.

    Frames run from x_0 to x_N. Forward rows keep their noise from frame to frame, so that paths are smooth. Rows at an
    atom of a column of the plane are left out; `rows` then has the numbers of the others.
    """
    sampler, stream = model.sampler, Stream(_SEED)
    times = [0, *sampler.times(model.schedule)]
    kept = sorted({round(i) for i in np.linspace(0, len(times) - 1, min(_MOST_FRAMES, len(times)))})
    x_t, x_0_hat, place = dict[int, Array](), dict[int, Array](), len(times) - 1
    applies = np.ones(N_POINTS, dtype=bool)
    for state in walk(model, 0, N_POINTS, stream=stream.child("sample"), sampler=sampler):
        if state.x_0_hat is not None:
            x_0_hat[place + 1] = plane.points(state.x_0_hat.cpu().numpy())
        x_t[place] = plane.points(state.x_t.cpu().numpy())
        if place == 0:
            applies = plane.applies(state.x_t.cpu().numpy())
        place -= 1
    if not applies.any():
        raise InvalidInput("The two columns should be numbers that vary, but all rows repeat a value: choose others.")
    x_0_hat[0] = x_t[0]
    backward, estimate = (np.stack([points[i][applies] for i in kept]) for points in (x_t, x_0_hat))
    x_0 = plane.points(model.codec.encode(data, stream=stream.child("cells")))
    x_0 = x_0[~np.isnan(x_0).any(axis=1)]
    eps = stream.child("forward").normal(0, len(x_0), 2).numpy()
    log_snr = np.array([math.inf, *model.schedule.log_snr[[times[i] for i in kept[1:]]].tolist()])
    alpha_bar, noise = (torch.sigmoid(sign * torch.from_numpy(log_snr)).numpy() for sign in (1, -1))
    forward = np.sqrt(alpha_bar)[:, None, None] * x_0 + np.sqrt(noise)[:, None, None] * eps
    frames = {"forward": forward, "backward": backward, "x_0_hat": estimate}
    header = {**plane.record(), "n": N_POINTS, "sampler": _sampler_record(model, sampler), "forward_from": origin}
    if not applies.all():
        header["rows"] = np.flatnonzero(applies).tolist()
    return {
        "header": header,
        "t": [times[i] for i in kept],
        "log_snr": np.where(np.isinf(log_snr), np.sign(log_snr) * 1e9, log_snr),
        "alpha_bar": alpha_bar,
        **{name: packed(plane.coordinates(points), "u2") for name, points in frames.items()},
    }


def _particles(model: DiffusionModel, plane: Plane, sampler: Sampler) -> dict[str, Any]:
    """Return the steps of the first rows by the paper's sampler, by the row's number; their tile is walked once."""
    tile = tile_of(0, model.denoiser.device)
    states = list(walk(model, *tile, stream=Stream(_SEED).child("sample"), sampler=sampler))
    return {str(row): _particle(model, plane, states, row, sampler) for row in range(N_PARTICLES)}


def _particle(
    model: DiffusionModel, plane: Plane, states: list[ChainState], row: int, sampler: Sampler
) -> dict[str, Any]:
    """Return the steps of one row of a walk, with every number of the formulas."""

    def shown(vector: Tensor) -> list[float]:
        return vector.double()[plane.places].tolist()

    steps = []
    for step in row_steps(model, states, row, sampler=sampler):
        schedule, at = step.schedule, step.place
        steps.append(
            {
                "t": step.t,
                "t_next": step.t_next,
                "x_t": shown(step.x_t),
                "eps_theta": shown(step.eps_theta),
                "x_0_hat": shown(step.x_0_hat),
                "mu_theta": shown(step.mean),
                "noise": shown(step.noise),
                "x_next": shown(step.x_next),
                "sigma_t": step.sigma,
                "a": math.sqrt(float(schedule.alpha_bar[at])),
                "b": math.sqrt(float(schedule.one_minus_alpha_bar[at])),
                "alpha": float(schedule.alpha[at]),
                "beta": float(schedule.beta[at]),
                "beta_tilde": float(schedule.beta_tilde[at]),
                "denoising_error": float(model.denoising_error[step.t]),
                "x_0_weight": step.weights[1][0],
            }
        )
    return {
        "row": row,
        "sampler": _sampler_record(model, sampler),
        "reverse_variance": model.reverse_variance,
        "steps": steps,
    }


def _sampler_record(model: DiffusionModel, sampler: Sampler) -> dict[str, Any]:
    return {
        "solver": sampler.solver_class.name,
        "n_evaluations": len(sampler.times(model.schedule)),
        "eta": sampler.eta,
        "words": sampler.describe(model.schedule),
    }


def _field(model: DiffusionModel, plane: Plane, t: int, what: str) -> dict[str, Any]:
    """Return the learned score, x_0_hat or eps_theta on a grid of the plane.

    The other columns are absent where the model takes conditions, and at their mean elsewhere.
    """
    x, y, points = plane.grid(_FIELD)
    z, log_snr, k = plane.rows(points), float(model.schedule.log_snr[t]), model.codec.n_encoded
    level = torch.tensor(log_snr, dtype=torch.float64)
    is_absent = k > 2 and model.conditions == "any"
    levels = level.float()
    if is_absent or plane.blocks:
        levels = torch.full((len(z), k), -math.inf if is_absent else log_snr)
        levels[:, plane.places] = log_snr
        for block in plane.blocks:
            levels[:, block.coordinates] = math.inf
    learned = plane.points(denoise(model, torch.from_numpy(z).float(), levels).double().cpu().numpy())
    if what != "x_0_hat":
        to_field = score_from_x_0 if what == "score" else eps_from_x_0
        learned = np.asarray(to_field(torch.from_numpy(points), torch.from_numpy(learned), level).numpy())
    header = {"what": what, "others": "none" if k == 2 else "absent" if is_absent else "mean"}
    return {"t": t, "header": header, "x": x, "y": y, "learned": packed(learned, "f4")}


def _bound(model: DiffusionModel, values: Array, origin: str) -> dict[str, Any]:
    """Return the bound term by term, and -ln p by the ODE of the same rows, which have no gaps."""
    values = values[~np.isnan(values).any(axis=1)]
    terms = bound(model, values, stream=Stream(_SEED).child("bound"))
    ode = -log_density(model, values).log_prob.numpy()
    return {
        "n": len(values),
        "rows": origin,
        "terms": [
            {"t": t, "value": float(terms.transitions[t]), "error": float(terms.transitions_standard_error[t])}
            for t in range(2, model.schedule.n_steps + 1)
        ],
        "prior": terms.prior,
        "prior_mismatch": model.prior_mismatch,
        "reconstruction": terms.reconstruction,
        "bound": terms.total,
        "pairing": None,
        "ladder": [{"name": "ode", **_mean(ode)}, {"name": "bound", **_mean(terms.per_row.numpy())}],
    }


def _mean(nats: Array) -> Mapping[str, float]:
    return {"value": float(nats.mean()), "error": float(nats.std(ddof=1) / math.sqrt(len(nats)))}


def _code(model: DiffusionModel) -> str:
    sampler = model.sampler
    return "\n".join(
        [
            "from backwalk import Diffusion, Sampler",
            "",
            'model = Diffusion.load("model.backwalk")',
            f"sampler = Sampler({sampler.solver_class.name!r}, n_evaluations={len(sampler.times(model.schedule))})",
            f"rows = model.sample({N_POINTS}, sampler=sampler, random_state={_SEED})",
            "print(model.bound(X), model.score_samples(X).mean())",
        ]
    )
