"""The numbers of the picture: the chain of many rows, and that of one particle."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.formatting import as_json
from backwalk.model import DiffusionModel, row_steps, sample_rows, visited_times, walk
from backwalk.sampling import TILE_ROWS, ChainState, Sampler
from backwalk.streams import Stream
from backwalk.web.models import ModelEntry, model_for, sampler_for
from backwalk.web.packing import Packed, coordinates
from backwalk.web.requests import ChainRequest, ParticleRequest, Refusal
from backwalk.web.views import View, row_record, view_of

Array = NDArray[np.float64]
MOST_FRAMES = 121
MOST_PLACES = 2**21  # frames times points
MOST_EVALUATIONS = 2**24  # steps times points
MOST_WALK_BYTES = 2**26  # of states that are kept
_FOR_LIMITS = 5000  # rows


def chain(entry: ModelEntry, request: ChainRequest) -> Packed:
    """Return the chain of n rows: forward from data, backward from noise, and x_0_hat, at the same noise levels.

    Frames run from x_0 to x_N. Backward rows are those of `sample` with the same seed, bit for bit; x_0_hat of a frame
    is E[x_0 | x_t] at that frame. Forward rows keep their noise eps from frame to frame, so that paths are smooth.
    Rows at an atom of a column of the plane are left out; `rows` then has the numbers of the other rows that are
    generated.
    """
    model, n = model_for(entry.model, request), request.n
    sampler, view = sampler_for(model, request), shown(entry, request.columns)
    times = [0, *visited_times(model, sampler)]
    if len(times) * n > MOST_EVALUATIONS:
        raise Refusal(400, f"{len(times) - 1:,} steps of {n:,} points are too many: ask for fewer of either.", "n")
    kept = _kept_frames(len(times), n)
    backward, x_0_hat = dict[int, Array](), dict[int, Array]()
    stream = Stream(request.seed).child("sample")
    applies = np.ones(n, dtype=bool)
    for i, state in enumerate(walk(model, 0, n, stream=stream, sampler=sampler)):
        place = len(times) - 1 - i
        if state.x_0_hat is not None and place + 1 in kept:
            x_0_hat[place + 1] = view.points(state.x_0_hat.cpu().numpy())
        if place in kept:
            backward[place] = view.points(state.x_t.cpu().numpy())
        if place == 0:
            applies = view.applies(state.x_t.cpu().numpy())
    if not applies.any():
        raise Refusal(400, f"All of {n:,} generated rows repeat a value of these columns: ask for more rows.", "n")
    x_0_hat[0] = backward[0]
    backward, x_0_hat = ({i: z[applies] for i, z in each.items()} for each in (backward, x_0_hat))
    log_snr = np.array([math.inf, *model.schedule.log_snr[[times[i] for i in kept[1:]]].tolist()])
    a, b = (torch.sigmoid(sign * torch.from_numpy(log_snr)).sqrt().numpy()[:, None, None] for sign in (1, -1))
    z = _data(entry, view, n, request.seed)
    x_0 = backward[0] if z is None else z
    eps = Stream(request.seed).child("forward").normal(0, len(x_0), 2).numpy()
    frames = {
        "forward": a * x_0 + b * eps,
        "backward": np.stack([backward[i] for i in kept]),
        "x_0_hat": np.stack([x_0_hat[i] for i in kept]),
    }
    if view.is_single:
        for points in frames.values():
            points[..., 1] = Stream(request.seed).child("spread").uniform(0, points.shape[1], 1).numpy()[:, 0]
    header = {
        **view.record(),
        "n": n,
        "seed": request.seed,
        "sampler": _sampler_record(model, sampler),
        "has_exact": entry.exact is not None,
        "forward_from": "model" if z is None else "data",
    }
    if not applies.all():
        header["rows"] = np.flatnonzero(applies).tolist()
    numbers = {
        "t": np.array([float(times[i]) for i in kept]),
        "log_snr": np.where(np.isinf(log_snr), np.sign(log_snr) * 1e9, log_snr),
        "alpha_bar": torch.sigmoid(torch.from_numpy(log_snr)).numpy(),
    }
    arrays = {
        **{name: (array, "f8") for name, array in numbers.items()},
        **{name: (coordinates(points, view.limits), "u2") for name, points in frames.items()},
    }
    return Packed(header, arrays)


class _Walks:
    """The states of the last tiles of rows that particles were asked from, as a click is followed by others."""

    def __init__(self) -> None:
        self._lock, self._kept = threading.Lock(), OrderedDict[tuple[Any, ...], tuple[ModelEntry, list[ChainState]]]()

    def states(
        self, entry: ModelEntry, model: DiffusionModel, row: int, sampler: Sampler, stream: Stream
    ) -> list[ChainState]:
        """Return the states of the whole tile of a row, from x_N to x_0."""
        first = row - row % TILE_ROWS
        key = (id(entry), model.reverse_variance, first, sampler, stream)
        with self._lock:
            if key in self._kept:
                return self._kept[key][1]
        found = list(walk(model, first, first + TILE_ROWS, stream=stream, sampler=sampler))
        if 3 * len(found) * found[0].x_t.nbytes <= MOST_WALK_BYTES:
            with self._lock:
                self._kept[key] = entry, found  # the entry is kept, so that no other gets its id
                while len(self._kept) > 2:
                    self._kept.popitem(last=False)
        return found


_WALKS = _Walks()


def _kept_frames(n_states: int, n_points: int) -> list[int]:
    """Return the places of the states that are sent: at most 121, evenly spread, with the first and the last."""
    n_frames = min(MOST_FRAMES, n_states, max(2, MOST_PLACES // n_points))
    return sorted({round(i) for i in np.linspace(0, n_states - 1, n_frames)})


def particle(entry: ModelEntry, request: ParticleRequest) -> dict[str, Any]:
    """Return the steps of one row of the chain, with every number of the formula, as the chain had them.

    Of a long chain these are the steps from the states that a chain of few points sends. `past` has the earlier visits
    that a step's weights go with, newest first.
    """
    model = model_for(entry.model, request)
    sampler, view = sampler_for(model, request), shown(entry, request.columns)
    stream = Stream(request.seed).child("sample")
    states = _WALKS.states(entry, model, request.row, sampler, stream)
    walked = row_steps(model, states, request.row % TILE_ROWS, sampler=sampler)
    kept = set(_kept_frames(len(walked) + 1, 1))
    steps = []
    for i, step in enumerate(walked):
        if len(walked) - i not in kept:
            continue
        at, schedule = step.place, step.schedule
        vectors = {
            "x_t": step.x_t,
            "eps_theta": step.eps_theta,
            "x_0_hat": step.x_0_hat,
            "mu_theta": step.mean,
            "noise": step.noise,
            "x_next": step.x_next,
        }
        steps.append(
            {
                "t": step.t,
                "t_next": step.t_next,
                **{name: _shown(view, vector) for name, vector in vectors.items()},
                "sigma_t": step.sigma,
                "a": math.sqrt(float(schedule.alpha_bar[at])),
                "b": math.sqrt(float(schedule.one_minus_alpha_bar[at])),
                "alpha": float(schedule.alpha[at]),
                "beta": float(schedule.beta[at]),
                "beta_tilde": float(schedule.beta_tilde[at]),
                "alpha_bar": float(schedule.alpha_bar[at]),
                "alpha_bar_next": float(schedule.alpha_bar[at - 1]),
                "log_snr": float(schedule.log_snr[at]),
                "weights": dict(zip(("x_t", "x_0_hat"), step.weights, strict=True)),
                "past": [
                    {"t": visit.t, **{name: _shown(view, getattr(visit, name)) for name in ("x_t", "x_0_hat")}}
                    for visit in walked[max(0, i + 1 - len(step.weights[0])) : i][::-1]
                ],
                "in_user_units": {
                    "x_t": row_record(model, step.x_t.double().numpy()),
                    "x_0_hat": row_record(model, step.x_0_hat.double().numpy()),
                },
            }
        )
    end = row_record(model, walked[-1].x_next.double().numpy())
    record = {
        **view.record(),
        "row": request.row,
        "seed": request.seed,
        "sampler": _sampler_record(model, sampler),
        "formula": sampler.solver,
        "steps": steps,
        "x_0": end,
    }
    return as_json(record)  # type: ignore[no-any-return]


def _shown(view: View, vector: Tensor) -> list[float]:
    found: list[float] = vector.double()[view.places].tolist()
    return found


def shown(entry: ModelEntry, columns: tuple[str | int, str | int] | None) -> View:
    """Return the view of a model's columns. Its limits follow from the rows of the fit."""
    rows = None if entry.data is None else fitted_rows(entry)[:_FOR_LIMITS]
    if rows is None:
        rows = sample_rows(entry.model, 0, 1000, stream=Stream(0).child("limits"))
    return view_of(entry.model, columns, entry.model.codec.encode(rows))


def fitted_rows(entry: ModelEntry) -> Array:
    """Return the rows of the fit with the model's columns, (n, d)."""
    assert entry.data is not None
    names, own = entry.data.table.schema.names, entry.model.schema.names
    return entry.data.table.values[:, [names.index(name) for name in own]]


def _data(entry: ModelEntry, view: View, n: int, seed: int) -> Array | None:
    """Return up to n rows of the data in the plane: new draws where the density is known. None without data."""
    if entry.data is None:
        return None
    if entry.density is not None and not entry.model.codec.blocks:
        rows = entry.density.sample_rows(0, n, stream=Stream(seed).child("unseen"))
    else:
        rows = fitted_rows(entry)[:n]
    z = view.points(entry.model.codec.encode(rows, stream=Stream(seed).child("cells")))
    z = z[~np.isnan(z).any(axis=1)]
    return z if len(z) else None


def _sampler_record(model: DiffusionModel, sampler: Sampler) -> dict[str, Any]:
    return {
        "solver": sampler.solver,
        "n_evaluations": len(visited_times(model, sampler)),
        "eta": sampler.eta,
        "reverse_variance": model.reverse_variance,
        "words": sampler.describe(model.schedule),
    }
