"""What a model has learned, beside what is exact where it is known: fields, densities and the bound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backwalk.diffusion import eps_from_x_0, score_from_x_0
from backwalk.formatting import as_json
from backwalk.model import bound, denoise, log_density, sample_rows
from backwalk.streams import Stream
from backwalk.table import as_table, match_columns
from backwalk.web.models import ModelEntry, schedule_argument
from backwalk.web.plane import Packed, Plane
from backwalk.web.requests import BoundRequest, DensityRequest, FieldRequest, ScheduleRequest
from backwalk.web.security import Refusal
from backwalk.web.tables import as_rows

Array = NDArray[np.float64]
_MOST_STEPS_DRAWN = 300
_N_COMPARED = 1000  # draws on which what is learned is compared with what is exact


def compute_field(entry: ModelEntry, request: FieldRequest) -> Packed:
    """Return the learned score, x_0_hat or eps_theta on a grid of the plane, beside the exact one where it is known.

    `rms` are root mean squares over draws of x_t: of learned minus exact vectors, and of the exact ones.
    """
    model, plane = entry.model, entry.plane(request.columns)
    if request.t > model.schedule.n_steps:
        raise Refusal(400, f"t should lie in 1..{model.schedule.n_steps}, but got {request.t}.", "t")
    log_snr = float(model.schedule.log_snr[request.t])
    x, y, points = plane.grid(request.size)
    learned, exact = _fields(entry, plane, plane.rows(points), log_snr, request.what)
    shape = (request.size, request.size, 2)
    others = "none" if model.codec.n_encoded == 2 else "absent" if model.conditions == "any" else "mean"
    header = {**plane.record(), "what": request.what, "others": others}
    arrays = {"x": (x, "f8"), "y": (y, "f8"), "learned": (learned.reshape(shape), "f4")}
    if exact is not None and entry.density is not None:
        arrays["exact"] = (exact.reshape(shape), "f4")
        z = model.codec.encode(entry.density.sample_rows(0, _N_COMPARED, stream=Stream(0).child("field")))
        learned, exact = _fields(entry, plane, _add_noise(z, log_snr), log_snr, request.what)
        assert exact is not None
        rms, rms_exact = (float(np.sqrt(np.square(each).sum(axis=1).mean())) for each in (learned - exact, exact))
        header |= {"rms": rms, "rms_exact": rms_exact, "relative": rms / rms_exact if rms_exact else math.nan}
    return Packed(header, arrays)


def _fields(entry: ModelEntry, plane: Plane, z: Array, log_snr: float, what: str) -> tuple[Array, Array | None]:
    """Return the learned and the exact field in the plane at encoded rows, (m, k), each (m, 2).

    The other columns are absent where the model takes conditions. The columns of the plane have no atom there.
    """
    model, points, level = entry.model, plane.points(z), torch.tensor(log_snr, dtype=torch.float64)
    k, levels = model.codec.n_encoded, level.float()
    is_absent = k > 2 and model.conditions == "any"
    if is_absent:
        z, levels = plane.rows(points), torch.full((len(z), k), -math.inf)
        levels[:, plane.places] = log_snr
    elif plane.blocks:
        levels = torch.full((len(z), k), log_snr)
    for block in plane.blocks:
        levels[:, block.coordinates] = math.inf

    def field_of(x_0_hat: Array) -> Array:
        if what == "x_0_hat":
            return x_0_hat
        to_field = score_from_x_0 if what == "score" else eps_from_x_0
        return np.asarray(to_field(torch.from_numpy(points), torch.from_numpy(x_0_hat), level).numpy())

    learned = field_of(plane.points(denoise(model, torch.from_numpy(z).float(), levels).double().cpu().numpy()))
    if entry.exact is None:
        return learned, None
    if is_absent:
        exact = entry.exact.marginal(plane.places).denoiser()(torch.from_numpy(points), level).numpy()
    else:
        exact = plane.points(entry.exact.denoiser()(torch.from_numpy(z), level).numpy())
    return learned, field_of(exact)


def _add_noise(z: Array, log_snr: float) -> Array:
    """Return draws of x_t, (n, k), for encoded rows x_0."""
    eps = Stream(0).child("field eps").normal(0, len(z), z.shape[1]).numpy()
    level = torch.tensor(log_snr, dtype=torch.float64)
    return torch.sigmoid(level).sqrt().item() * z + torch.sigmoid(-level).sqrt().item() * eps


def compute_density(entry: ModelEntry, request: DensityRequest) -> Packed:
    """Return the log-density on a grid of the plane, by the ODE, beside the exact one where it is known.

    It is that of the data in the user's units, blurred by the least noise level. `difference` is the mean of
    ln p_exact - ln p_model over draws, nats a row, with its standard error.
    """
    model, plane = entry.model, entry.plane(request.columns)
    is_whole = len(model.codec.varying) == 2
    if plane.is_single:
        raise Refusal(400, "A density in the plane needs two columns of numbers.", "columns")
    if not is_whole and model.conditions != "any":
        raise Refusal(400, "The density of two of several columns needs a model with conditions any.", "columns")
    x, y, points = plane.grid(request.size)
    rows = model.codec.decode(plane.rows(points))
    log_p = log_density(model, rows, columns=None if is_whole else list(plane.columns)).log_prob.numpy()
    header, shape = plane.record(), (request.size, request.size)
    arrays = {"x": (x, "f8"), "y": (y, "f8"), "log_p": (_make_finite(log_p).reshape(shape), "f4")}
    if entry.density is not None and is_whole:
        arrays["exact"] = (_make_finite(entry.density.log_prob(rows)).reshape(shape), "f4")
        drawn = entry.density.sample_rows(0, _N_COMPARED, stream=Stream(0).child("density"))
        apart = _mean(entry.density.log_prob(drawn) - log_density(model, drawn).log_prob.numpy())
        header["difference"] = {"nats": apart["value"], "error": apart["error"]}
    return Packed(header, arrays)


def _make_finite(log_p: Array) -> Array:
    return np.nan_to_num(log_p, nan=-1e30, neginf=-1e30, posinf=1e30)


def compute_bound(entry: ModelEntry, request: BoundRequest) -> dict[str, Any]:
    """Return the bound term by term, and the ladder of figures: entropy, ODE and bound of the same rows.

    Rows are new draws where the density is known, otherwise rows of the fit, or the model's own.
    """
    model = entry.model
    values, log_p, origin = _choose_rows(entry, request)
    terms = bound(model, values, stream=Stream(request.seed).child("bound"))
    ode = -log_density(model, values).log_prob.numpy()
    record = {
        "n": len(values),
        "rows": origin,
        "terms": [
            {"t": t, "value": float(terms.transitions[t]), "error": float(terms.transitions_standard_error[t])}
            for t in range(2, model.schedule.n_steps + 1)
        ],
        "prior": terms.prior,
        "prior_error": terms.prior_standard_error,
        "prior_mismatch": model.prior_mismatch,
        "reconstruction": terms.reconstruction,
        "bound": terms.total,
        "pairing": _pairing(entry, log_p),
        "ladder": _ladder(entry, log_p, {"ode": ode, "bound": terms.per_row.numpy()}),
    }
    return as_json(record)  # type: ignore[no-any-return]


def draw_schedule(entry: ModelEntry, request: ScheduleRequest) -> dict[str, Any]:
    """Return beta_t, alpha_bar_t and the SNR of a schedule, thinned to a few hundred steps, for pictures."""
    if request.schedule is None:
        schedule = entry.model.schedule
        name = f"The schedule of the model shown, {schedule.n_steps:,} steps."
    else:
        argument = schedule_argument(request.schedule, request.n_steps, request.beta_max)
        schedule, name = argument.value, argument.text
    t = np.unique(np.linspace(1, schedule.n_steps, min(schedule.n_steps, _MOST_STEPS_DRAWN)).round().astype(int))
    log_snr = schedule.log_snr[t].numpy()
    record = {
        "name": name,
        "t": t,
        "beta": schedule.beta[t].numpy(),
        "alpha_bar": schedule.alpha_bar[t].numpy(),
        "log10_snr": np.where(np.isfinite(log_snr), log_snr, np.nan) / math.log(10.0),
        "alpha_bar_N": float(schedule.alpha_bar[-1]),
        "signal_N": math.sqrt(float(schedule.alpha_bar[-1])),
    }
    return as_json(record)  # type: ignore[no-any-return]


def compute_log_p(entry: ModelEntry, request: BoundRequest) -> dict[str, Any]:
    """Return the ladder without the bound, which no sampler has a part in: the entropy and the ODE's -ln p."""
    values, log_p, origin = _choose_rows(entry, request)
    ladder = _ladder(entry, log_p, {"ode": -log_density(entry.model, values).log_prob.numpy()})
    return as_json({"n": len(values), "rows": origin, "ladder": ladder})  # type: ignore[no-any-return]


def _ladder(entry: ModelEntry, log_p: Array | None, nats_by_name: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Return figures with their errors, from the least; `log_p`, (n,), is the true log-density of the rows.

    Where the density is known, a figure is the entropy plus the mean of its difference to -ln p of the same row: rows
    that are likely or not under both then cancel, and the error is several times smaller.
    """
    if entry.density is None or log_p is None:
        return [{"name": name, **_mean(nats)} for name, nats in nats_by_name.items()]
    entropy, error = entry.density.entropy, entry.density.entropy_standard_error
    ladder = [{"name": "entropy", "value": entropy, "error": error}]
    for name, nats in nats_by_name.items():
        above = _mean(nats + log_p)
        ladder.append({"name": name, "value": entropy + above["value"], "error": math.hypot(above["error"], error)})
    return ladder


def _pairing(entry: ModelEntry, log_p: Array | None) -> float | None:
    """Return what the ladder adds to the means over the rows: the entropy less their mean -ln p, if it is known."""
    return None if entry.density is None or log_p is None else entry.density.entropy + float(log_p.mean())


def _mean(nats: Array) -> dict[str, float]:
    return {"value": float(nats.mean()), "error": float(nats.std(ddof=1) / math.sqrt(len(nats)))}


def _choose_rows(entry: ModelEntry, request: BoundRequest) -> tuple[Array, Array | None, str]:
    """Return rows to score, their true log-density, if it is known, and where they come from."""
    stream = Stream(request.seed)
    if entry.density is not None:
        drawn = entry.density.sample_rows(0, request.n, stream=stream.child("unseen"))
        # The model's codes of labels may have another order than the density's.
        values = match_columns(as_table(as_rows(entry.density, drawn)), entry.model.schema).values
        return values, entry.density.log_prob(drawn), "new draws"
    if entry.data is not None:
        rows = entry.fitted_rows()
        order = stream.child("rows").permutation(len(rows))[: request.n]
        return rows[order], None, "rows of the fit"
    return sample_rows(entry.model, 0, request.n, stream=stream.child("own")), None, "the model's own rows"
