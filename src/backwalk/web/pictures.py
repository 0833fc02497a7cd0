"""The numbers of the page's pictures: the chain, one particle, fields and densities in the plane."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion import eps_from_x_0, score_from_x_0
from backwalk.formatting import as_json
from backwalk.model import (
    DiffusionModel,
    denoised,
    log_density,
    log_density_at,
    row_steps,
    sample_rows,
    visited_times,
    walk_tiles,
)
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.web.models import ModelEntry, model_for, sampler_for
from backwalk.web.packing import Packed, coordinates
from backwalk.web.refusals import Refusal
from backwalk.web.requests import ChainRequest, DensityRequest, FieldRequest, ParticleRequest
from backwalk.web.views import View, row_record, view_of

Array = NDArray[np.float64]
MOST_FRAMES = 121
MOST_PLACES = 2**21  # frames times points
MOST_EVALUATIONS = 2**24  # steps times points
_COMPARED = 1000  # draws on which a learned field is compared with the exact one
_FOR_LIMITS = 5000  # rows


def chain(entry: ModelEntry, request: ChainRequest) -> Packed:
    """Return the chain of n rows: forward from data, backward from noise, and x_0_hat, at the same noise levels.

    Frames run from x_0 to x_N. Backward rows are those of `sample` with the same seed, bit for bit; x_0_hat of a frame
    is E[x_0 | x_t] at that frame. Forward rows keep their noise eps from frame to frame, so that paths are smooth.
    """
    model, n = model_for(entry.model, request), request.n
    sampler, view = sampler_for(model, request), shown(entry, request.columns)
    times = [0, *visited_times(model, sampler)]
    if len(times) * n > MOST_EVALUATIONS:
        raise Refusal(400, f"{len(times) - 1:,} steps of {n:,} points are too many: ask for fewer of either.", "n")
    kept = _kept_frames(len(times), n)
    backward, x_0_hat = dict[int, Array](), dict[int, Array]()
    stream = Stream(request.seed).child("sample")
    for i, state in enumerate(walk_tiles(model, 0, n, stream=stream, sampler=sampler)):
        place = len(times) - 1 - i
        if state.x_0_hat is not None and place + 1 in kept:
            x_0_hat[place + 1] = view.points(state.x_0_hat.cpu().numpy())
        if place in kept:
            backward[place] = view.points(state.x_t.cpu().numpy())
    x_0_hat[0] = backward[0]
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
    walked = row_steps(model, request.row, stream=Stream(request.seed).child("sample"), sampler=sampler)
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
                "weights": {"x_t": step.weights.x_t, "x_0_hat": step.weights.x_0_hat},
                "past": [
                    {"t": visit.t, **{name: _shown(view, getattr(visit, name)) for name in ("x_t", "x_0_hat")}}
                    for visit in walked[max(0, i + 1 - len(step.weights.x_0_hat)) : i][::-1]
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


def field(entry: ModelEntry, request: FieldRequest) -> Packed:
    """Return the learned score, x_0_hat or eps_theta on a grid of the plane, beside the exact one where it is known."""
    model, view = entry.model, shown(entry, request.columns)
    log_snr = _log_snr(model, request.t, least=1)
    x, y, points = _grid(view, request.size)
    learned, others = _learned(model, view, points, log_snr)
    exact = None
    if entry.exact is not None:
        of_view = entry.exact.marginal(view.places) if others == "absent" else entry.exact
        inputs = points if others == "absent" else view.rows(points)
        found = of_view.denoiser()(torch.from_numpy(inputs), torch.tensor(log_snr, dtype=torch.float64)).numpy()
        exact = found if others == "absent" else found[:, view.places]
    shape = (request.size, request.size, 2)
    arrays = {
        "x": (x, "f8"),
        "y": (y, "f8"),
        "learned": (_as(request.what, points, learned, log_snr).reshape(shape), "f4"),
    }
    header = {**view.record(), "t": request.t, "what": request.what, "log_snr": log_snr, "others": others}
    if exact is not None:
        arrays["exact"] = (_as(request.what, points, exact, log_snr).reshape(shape), "f4")
        header |= _compared(entry, view, request.what, log_snr, others)
    return Packed(header, arrays)


def density(entry: ModelEntry, request: DensityRequest) -> Packed:
    """Return the log-density of x_t on a grid of the plane, by the ODE, beside the exact one where it is known.

    At t = 0 it is that of the data in the user's units, blurred by the least noise level; at t > 0 that of x_t in
    encoded units.
    """
    model, view = entry.model, shown(entry, request.columns)
    _log_snr(model, request.t, least=0)
    x, y, points = _grid(view, request.size)
    if view.is_single:
        raise Refusal(400, "A density in the plane needs two columns of numbers.", "columns")
    header: dict[str, Any] = {**view.record(), "t": request.t}
    whole = len(model.codec.varying) == 2
    if not whole and model.conditions != "any":
        raise Refusal(400, "The density of two of several columns needs a model with conditions any.", "columns")
    exact = None
    if request.t == 0:
        rows = model.codec.decode(view.rows(points))
        log_p = log_density(model, rows, columns=None if whole else list(view.columns)).log_prob.numpy()
        if entry.density is not None and whole:
            exact = entry.density.log_prob(rows)
        header["density_units"] = "user"
    else:
        if not whole:
            raise Refusal(400, "The density of x_t at t > 0 needs a model of two columns.", "t")
        log_p = log_density_at(model, torch.from_numpy(view.rows(points)), request.t).log_prob.numpy()
        if entry.exact is not None:
            exact = entry.exact.noisy(float(model.schedule.log_snr[request.t])).log_prob(view.rows(points))
        header["density_units"] = "encoded"
    shape = (request.size, request.size)
    arrays = {"x": (x, "f8"), "y": (y, "f8"), "log_p": (_finite(log_p).reshape(shape), "f4")}
    if exact is not None:
        arrays["exact"] = (_finite(exact).reshape(shape), "f4")
        header["difference"] = _nats_apart(entry, request.t)
    return Packed(header, arrays)


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


def _log_snr(model: DiffusionModel, t: int, *, least: int) -> float:
    if not least <= t <= model.schedule.n_steps:
        raise Refusal(400, f"t should lie in {least}..{model.schedule.n_steps}, but got {t}.", "t")
    return float(model.schedule.log_snr[t])


def _grid(view: View, size: int) -> tuple[Array, Array, Array]:
    """Return the two axes of a grid, (size,), and its points, (size^2, 2), rows of equal y after each other."""
    left, right, bottom, top = view.limits
    x, y = np.linspace(left, right, size), np.linspace(bottom, top, size)
    return x, y, np.stack([np.tile(x, size), np.repeat(y, size)], axis=1)


def _learned(model: DiffusionModel, view: View, points: Array, log_snr: float) -> tuple[Array, str]:
    """Return x_0_hat at points of the plane, (m, 2), and what the other coordinates are: absent, or at their mean."""
    k = model.codec.n_encoded
    level, others = torch.tensor(log_snr), "none" if k == 2 else "mean"
    if k > 2 and model.conditions == "any":
        others, level = "absent", torch.full((len(points), k), -math.inf)
        level[:, view.places] = log_snr
    x_0_hat: Tensor = denoised(model, torch.from_numpy(view.rows(points)).float(), level)
    return view.points(x_0_hat.double().cpu().numpy()), others


def _as(what: str, points: Array, x_0_hat: Array, log_snr: float) -> Array:
    x_t, x_0, level = torch.from_numpy(points), torch.from_numpy(x_0_hat), torch.tensor(log_snr, dtype=torch.float64)
    if what == "x_0_hat":
        return x_0_hat
    return (score_from_x_0 if what == "score" else eps_from_x_0)(x_t, x_0, level).numpy()


def _compared(entry: ModelEntry, view: View, what: str, log_snr: float, others: str) -> dict[str, float]:
    """Return root mean squares over draws of x_t: of learned minus exact vectors, and of the exact ones."""
    assert entry.exact is not None
    assert entry.density is not None
    model = entry.model
    z = model.codec.encode(entry.density.sample_rows(0, _COMPARED, stream=Stream(0).child("field")))
    eps = Stream(0).child("field eps").normal(0, len(z), z.shape[1]).numpy()
    level = torch.tensor(log_snr, dtype=torch.float64)
    x_t = torch.sigmoid(level).sqrt().item() * z + torch.sigmoid(-level).sqrt().item() * eps
    if others == "absent":
        learned, _ = _learned(model, view, x_t[:, view.places], log_snr)
        of_exact = entry.exact.marginal(view.places).denoiser()(torch.from_numpy(x_t[:, view.places]), level).numpy()
    else:
        learned = view.points(denoised(model, torch.from_numpy(x_t).float(), level.float()).double().cpu().numpy())
        of_exact = view.points(entry.exact.denoiser()(torch.from_numpy(x_t), level).numpy())
    points = x_t[:, view.places]
    one, other = _as(what, points, learned, log_snr), _as(what, points, of_exact, log_snr)
    rms, rms_exact = (float(np.sqrt(np.square(each).sum(axis=1).mean())) for each in (one - other, other))
    return {"rms": rms, "rms_exact": rms_exact, "relative": rms / rms_exact if rms_exact else math.nan}


def _nats_apart(entry: ModelEntry, t: int) -> dict[str, float] | None:
    """Return the mean of ln p_exact - ln p_model over draws of x_t, nats a row, and its standard error."""
    model = entry.model
    assert entry.density is not None
    rows = entry.density.sample_rows(0, _COMPARED, stream=Stream(0).child("density"))
    if t == 0:
        apart = entry.density.log_prob(rows) - log_density(model, rows).log_prob.numpy()
    else:
        if entry.exact is None:
            return None
        log_snr = float(model.schedule.log_snr[t])
        level = torch.tensor(log_snr, dtype=torch.float64)
        z = model.codec.encode(rows)
        eps = Stream(0).child("density eps").normal(0, len(z), z.shape[1]).numpy()
        x_t = torch.sigmoid(level).sqrt().item() * z + torch.sigmoid(-level).sqrt().item() * eps
        apart = (
            entry.exact.noisy(log_snr).log_prob(x_t) - log_density_at(model, torch.from_numpy(x_t), t).log_prob.numpy()
        )
    return {"nats": float(apart.mean()), "error": float(apart.std(ddof=1) / math.sqrt(len(apart)))}


def _finite(log_p: Array) -> Array:
    return np.nan_to_num(log_p, nan=-1e30, neginf=-1e30, posinf=1e30)
