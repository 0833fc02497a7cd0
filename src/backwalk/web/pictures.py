"""The numbers of the picture: the chain of many rows, and that of one particle."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.formatting import as_json
from backwalk.model import DiffusionModel, row_steps, walk
from backwalk.sampling import ChainState, Sampler, tile_of
from backwalk.streams import Stream
from backwalk.web.models import ModelEntry, choose_sampler_for
from backwalk.web.plane import Packed, Plane, row_record
from backwalk.web.requests import ChainRequest, ParticleRequest
from backwalk.web.security import Refusal

Array = NDArray[np.float64]
MOST_FRAMES = 121
MOST_PLACES = 2**21  # frames times points
MOST_EVALUATIONS = 2**24  # steps times points


def compute_chain(entry: ModelEntry, request: ChainRequest) -> Packed:
    """Return the chain of n rows: forward from data, backward from noise, and x_0_hat, at the same noise levels.

    Frames run from x_0 to x_N. Backward rows are those of `sample` with the same seed, bit for bit; x_0_hat of a frame
    is E[x_0 | x_t] at that frame. Forward rows keep their noise eps from frame to frame, so that paths are smooth.
    Rows at an atom of a column of the plane are left out; `rows` then has the numbers of the other rows.
    """
    model, n, plane = entry.model_for(request.reverse_variance), request.n, entry.plane(request.columns)
    sampler = choose_sampler_for(model, request)
    times = [0, *sampler.times(model.schedule)]
    if len(times) * n > MOST_EVALUATIONS:
        raise Refusal(400, f"{len(times) - 1:,} steps of {n:,} points are too many: ask for fewer of either.", "n")
    kept = choose_frames(len(times), n)
    backward, x_0_hat, applies = _walk_back(model, plane, n, request.seed, sampler, kept)
    if not applies.any():
        raise Refusal(400, f"All of {n:,} generated rows repeat a value of these columns: ask for more rows.", "n")
    backward, x_0_hat = backward[:, applies], x_0_hat[:, applies]
    log_snr = np.array([math.inf, *model.schedule.log_snr[[times[i] for i in kept[1:]]].tolist()])
    alpha_bar = torch.sigmoid(torch.from_numpy(log_snr)).numpy()
    a, b = (torch.sigmoid(sign * torch.from_numpy(log_snr)).sqrt().numpy()[:, None, None] for sign in (1, -1))
    x_0 = _real_points(entry, plane, n, request.seed)
    forward_from, x_0 = ("model", backward[0]) if x_0 is None else ("data", x_0)
    eps = Stream(request.seed).child("forward").normal(0, len(x_0), 2).numpy()
    frames = {"forward": a * x_0 + b * eps, "backward": backward, "x_0_hat": x_0_hat}
    if plane.is_single:
        for points in frames.values():
            points[..., 1] = Stream(request.seed).child("spread").uniform(0, points.shape[1], 1).numpy()[:, 0]
    header = {
        **plane.record(),
        "n": n,
        "sampler": _sampler_record(model, sampler),
        "forward_from": forward_from,
        **({} if applies.all() else {"rows": np.flatnonzero(applies).tolist()}),
    }
    numbers = {
        "t": np.array([float(times[i]) for i in kept]),
        "log_snr": np.where(np.isinf(log_snr), np.sign(log_snr) * 1e9, log_snr),
        "alpha_bar": alpha_bar,
    }
    return Packed(
        header,
        {name: (array, "f8") for name, array in numbers.items()}
        | {name: (plane.coordinates(points), "u2") for name, points in frames.items()},
    )


def _walk_back(
    model: DiffusionModel, plane: Plane, n: int, seed: int, sampler: Sampler, kept: list[int]
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return the points x_t and x_0_hat of the kept states, (frames, n, 2), and which rows have no atom, (n,)."""
    x_t, x_0_hat, applies = dict[int, Array](), dict[int, Array](), np.ones(n, dtype=bool)
    place = len(sampler.times(model.schedule))
    for state in walk(model, 0, n, stream=Stream(seed).child("sample"), sampler=sampler):
        if state.x_0_hat is not None and place + 1 in kept:
            x_0_hat[place + 1] = plane.points(state.x_0_hat.cpu().numpy())
        if place in kept:
            x_t[place] = plane.points(state.x_t.cpu().numpy())
        if place == 0:
            applies = plane.applies(state.x_t.cpu().numpy())
        place -= 1
    x_0_hat[0] = x_t[0]
    return np.stack([x_t[i] for i in kept]), np.stack([x_0_hat[i] for i in kept]), applies


def choose_frames(n_states: int, n_points: int) -> list[int]:
    """Return the places of the states that are sent: at most 121, evenly spread, with the first and the last."""
    n_frames = min(MOST_FRAMES, n_states, max(2, MOST_PLACES // n_points))
    return sorted({round(i) for i in np.linspace(0, n_states - 1, n_frames)})


def _real_points(entry: ModelEntry, plane: Plane, n: int, seed: int) -> Array | None:
    """Return up to n rows of the data in the plane: new draws where the density is known. None without data."""
    if entry.data is None:
        return None
    if entry.density is not None and not entry.model.codec.blocks:
        rows = entry.density.sample_rows(0, n, stream=Stream(seed).child("unseen"))
    else:
        rows = entry.fitted_rows()[:n]
    points = plane.points(entry.model.codec.encode(rows, stream=Stream(seed).child("cells")))
    points = points[~np.isnan(points).any(axis=1)]
    return points if len(points) else None


def compute_particle(entry: ModelEntry, request: ParticleRequest) -> dict[str, Any]:
    """Return the steps of one row of the chain, with every number of the formulas, as the chain had them.

    With the reverse variance "optimal" the ancestral step has sigma_t^2 = beta_tilde + weight^2 `denoising_error`, with
    the weight of x_0_hat. Of a long chain these are the steps from the states that a chain of few points sends. `past`
    has the earlier visits that a step's weights go with, newest first.
    """
    model, plane = entry.model_for(request.reverse_variance), entry.plane(request.columns)
    sampler, stream = choose_sampler_for(model, request), Stream(request.seed).child("sample")
    tile = tile_of(request.row, model.denoiser.device)
    states = _walk_tile(entry, request.reverse_variance, tile, sampler, stream)
    walked = row_steps(model, states, request.row - tile[0], sampler=sampler)
    kept = set(choose_frames(len(walked) + 1, 1))

    def shown(vector: Tensor) -> list[float]:
        return vector.double()[plane.places].tolist()

    steps = []
    for i, step in enumerate(walked):
        if len(walked) - i not in kept:
            continue
        weights, schedule, at = dict(zip(("x_t", "x_0_hat"), step.weights, strict=True)), step.schedule, step.place
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
                "a_next": math.sqrt(float(schedule.alpha_bar[at - 1])),
                "alpha": float(schedule.alpha[at]),
                "beta": float(schedule.beta[at]),
                "beta_tilde": float(schedule.beta_tilde[at]),
                "denoising_error": float(model.denoising_error[step.t]),
                "weights": weights,
                "past": [
                    {"t": visit.t, "x_t": shown(visit.x_t), "x_0_hat": shown(visit.x_0_hat)}
                    for visit in walked[max(0, i + 1 - len(weights["x_t"])) : i][::-1]
                ],
                "in_user_units": {
                    "x_t": row_record(model, step.x_t.double().numpy()),
                    "x_0_hat": row_record(model, step.x_0_hat.double().numpy()),
                },
            }
        )
    record = {
        **plane.record(),
        "row": request.row,
        "sampler": _sampler_record(model, sampler),
        "reverse_variance": model.reverse_variance,
        "steps": steps,
        "x_0": row_record(model, walked[-1].x_next.double().numpy()),
    }
    return as_json(record)  # type: ignore[no-any-return]


@lru_cache(maxsize=1)
def _walk_tile(
    entry: ModelEntry, reverse_variance: str | None, tile: tuple[int, int], sampler: Sampler, stream: Stream
) -> list[ChainState]:
    """Return the states of a tile of rows, from x_N to x_0; one click is followed by others."""
    model = entry.model_for(reverse_variance)
    return list(walk(model, *tile, stream=stream, sampler=sampler))


def _sampler_record(model: DiffusionModel, sampler: Sampler) -> dict[str, Any]:
    return {
        "solver": sampler.solver_class.name,
        "n_evaluations": len(sampler.times(model.schedule)),
        "eta": sampler.eta,
        "words": sampler.describe(model.schedule),
    }
