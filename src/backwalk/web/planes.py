"""Fields and densities on a grid of the plane, learned and exact, and how far they are apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion import eps_from_x_0, score_from_x_0
from backwalk.model import DiffusionModel, denoise, log_density, log_density_at
from backwalk.streams import Stream
from backwalk.web.models import ModelEntry
from backwalk.web.packing import Packed
from backwalk.web.pictures import shown
from backwalk.web.requests import DensityRequest, FieldRequest, Refusal
from backwalk.web.views import View

Array = NDArray[np.float64]
_COMPARED = 1000  # draws on which a learned field is compared with the exact one


def field(entry: ModelEntry, request: FieldRequest) -> Packed:
    """Return the learned score, x_0_hat or eps_theta on a grid of the plane, beside the exact one where it is known."""
    model, view = entry.model, shown(entry, request.columns)
    log_snr = _log_snr(model, request.t, least=1)
    x, y, points = view.grid(request.size)
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
    x, y, points = view.grid(request.size)
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


def _log_snr(model: DiffusionModel, t: int, *, least: int) -> float:
    if not least <= t <= model.schedule.n_steps:
        raise Refusal(400, f"t should lie in {least}..{model.schedule.n_steps}, but got {t}.", "t")
    return float(model.schedule.log_snr[t])


def _learned(model: DiffusionModel, view: View, points: Array, log_snr: float) -> tuple[Array, str]:
    """Return x_0_hat at points of the plane, (m, 2), and what the other coordinates are: absent, or at their mean.

    It is given that a number with atoms is at none of these.
    """
    k = model.codec.n_encoded
    level, others = torch.tensor(log_snr), "none" if k == 2 else "mean"
    if k > 2 and model.conditions == "any":
        others, level = "absent", torch.full((len(points), k), -math.inf)
        level[:, view.places] = log_snr
    elif view.blocks:
        level = torch.full((len(points), k), log_snr)
    for block in view.blocks:
        level[:, block.coordinates] = math.inf
    x_0_hat: Tensor = denoise(model, torch.from_numpy(view.rows(points)).float(), level)
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
    level, x_t = torch.tensor(log_snr, dtype=torch.float64), _noisy(z, log_snr, "field eps")
    if others == "absent":
        learned, _ = _learned(model, view, x_t[:, view.places], log_snr)
        of_exact = entry.exact.marginal(view.places).denoiser()(torch.from_numpy(x_t[:, view.places]), level).numpy()
    else:
        learned = view.points(denoise(model, torch.from_numpy(x_t).float(), level.float()).double().cpu().numpy())
        of_exact = view.points(entry.exact.denoiser()(torch.from_numpy(x_t), level).numpy())
    points = x_t[:, view.places]
    one, other = _as(what, points, learned, log_snr), _as(what, points, of_exact, log_snr)
    rms, rms_exact = (float(np.sqrt(np.square(each).sum(axis=1).mean())) for each in (one - other, other))
    return {"rms": rms, "rms_exact": rms_exact, "relative": rms / rms_exact if rms_exact else math.nan}


def _noisy(z: Array, log_snr: float, purpose: str) -> Array:
    """Return draws of x_t, (n, k), for encoded rows x_0."""
    eps = Stream(0).child(purpose).normal(0, len(z), z.shape[1]).numpy()
    level = torch.tensor(log_snr, dtype=torch.float64)
    return torch.sigmoid(level).sqrt().item() * z + torch.sigmoid(-level).sqrt().item() * eps


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
        x_t = _noisy(model.codec.encode(rows), log_snr, "density eps")
        apart = (
            entry.exact.noisy(log_snr).log_prob(x_t) - log_density_at(model, torch.from_numpy(x_t), t).log_prob.numpy()
        )
    return {"nats": float(apart.mean()), "error": float(apart.std(ddof=1) / math.sqrt(len(apart)))}


def _finite(log_p: Array) -> Array:
    return np.nan_to_num(log_p, nan=-1e30, neginf=-1e30, posinf=1e30)
