"""Fitted models of a workspace, what the page says about them, and the arguments of their fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.datasets import Density, MixtureForm, mixture_form
from backwalk.denoiser import Residual, Textbook
from backwalk.diffusion import NoiseSchedule
from backwalk.estimator import Diffusion
from backwalk.formatting import as_json, listed
from backwalk.model import DiffusionModel, default_decoder_variance, mismatch_warning, sample_rows
from backwalk.sampling import Sampler, choose_sampler
from backwalk.streams import Stream
from backwalk.table.column_facts import facts_of_codec, words_of
from backwalk.web.plane import Plane, choose_plane, texts_of
from backwalk.web.requests import Network, Sampled, SettingsRequest
from backwalk.web.security import Refusal
from backwalk.web.tables import DataEntry

Array = NDArray[np.float64]
_MOST_LEVELS = 200
_N_ROWS_FOR_LIMITS, _N_ROWS_WITHOUT_DATA = 5000, 1000
_NAMES_OF_SETTINGS = {"n_steps": "the number of steps", "denoiser": "network", "n_evaluations": "evaluations"}
_USUAL_STEPS = 100  # of a schedule that is named without a number of steps


@dataclass(eq=False)
class ModelEntry:
    """A model, and the table, settings and seed of its fit, if they are known.

    `path` is that of a model that the page was opened with. `report` is its report as HTML, once it is made, and
    `report_progress` the share and the stage of its making. `can_be_repeated` is False where another fit with the same
    settings gives another model: of a stopped fit, one with a time limit, or one that went on from another.
    """

    name: str
    estimator: Diffusion
    data: DataEntry | None = None
    settings: SettingsRequest | None = None
    seed: int = 0
    title: str = ""
    path: str | None = None
    can_be_repeated: bool = True
    report: bytes | None = None
    report_progress: tuple[float, str] = (0.0, "")

    def __post_init__(self) -> None:
        self.title = self.title or self._make_title()

    def _make_title(self) -> str:
        title = "A table" if self.data is None else self.data.title[:1].upper() + self.data.title[1:]
        if self.settings is None:
            return title
        changed = [
            _NAMES_OF_SETTINGS.get(name, name.replace("_", " "))
            for name, value in self.settings
            if value != SettingsRequest.model_fields[name].default
            and name not in ("preset", "max_steps", "max_time", "epochs")
        ]
        title += ", the notebook's settings" if self.settings.preset == "ddpm" else ", default settings"
        title += f" but for {listed(changed)}" if changed else ""
        title += f", seed {self.seed}"
        if self.model.card["stopped_by"] == "callback":
            title += f", stopped at step {self.model.history.n_steps:,}"
        return title

    @property
    def model(self) -> DiffusionModel:
        """The fitted model."""
        return self.estimator.model_

    @property
    def density(self) -> Density | None:
        """The known density of the data."""
        return None if self.data is None else self.data.density

    @cached_property
    def exact(self) -> MixtureForm | None:
        """The known density in encoded units, where it is a mixture and every column is a scaled number."""
        columns = self.model.codec.columns
        if self.density is None or not all(column.is_linear and not column.cell_width for column in columns):
            return None
        form = mixture_form(self.density)
        if form is None:
            return None
        centre, scale = (self.model.codec.decode([[end] * len(columns)])[0] for end in (0.0, 1.0))
        return form.encoded(centre, scale - centre)

    def fitted_rows(self) -> Array:
        """Return the rows of the fit with the model's columns, (n, d)."""
        assert self.data is not None
        names = self.data.table.schema.names
        return self.data.table.values[:, [names.index(name) for name in self.model.schema.names]]

    def plane(self, columns: tuple[str | int, str | int] | None) -> Plane:
        """Return the plane of two columns, whose limits follow from the rows of the fit."""
        if self.data is None:
            rows = sample_rows(self.model, 0, _N_ROWS_WITHOUT_DATA, stream=Stream(0).child("limits"))
        else:
            rows = self.fitted_rows()[:_N_ROWS_FOR_LIMITS]
        return choose_plane(self.model, columns, self.model.codec.encode(rows))

    def model_for(self, reverse_variance: str | None) -> DiffusionModel:
        """Return the model with the reverse variances that a request asks for."""
        model = self.model
        if reverse_variance is None or reverse_variance == model.reverse_variance:
            return model
        decoder = default_decoder_variance(reverse_variance, model.schedule, model.denoising_error)
        return replace(model, reverse_variance=reverse_variance, decoder_variance=decoder)

    def record(self) -> dict[str, Any]:
        """Return what the page says about the model, as JSON values."""
        model, schedule = self.model, self.model.schedule
        record = {
            "model": self.name,
            "title": self.title,
            "columns": [
                self._column_record(j, facts) for j, facts in enumerate(facts_of_codec(model.schema, model.codec))
            ],
            "schedule": {"n_steps": schedule.n_steps, "alpha_bar": schedule.alpha_bar},
            "prior_mismatch": model.prior_mismatch,
            "warning": mismatch_warning(model.prior_mismatch, schedule),
            "sampler": {"words": model.sampler.describe(schedule)},
            "n_parameters": model.card.get("n_parameters"),
            "words": repr(model).splitlines(),
            "takes_conditions": model.conditions == "any",
            "drawable": [model.schema.names[j] for j in model.codec.plottable],
            "has_chain": len(model.codec.numbers) > 0,
            "has_exact": self.exact is not None,
            "has_rows": self.data is not None,
        }
        return as_json(record)  # type: ignore[no-any-return]

    def _column_record(self, column: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        labels = self.model.schema.labels[column]
        record = {"name": facts["name"], "kind": facts["kind"], "description": words_of(facts)}
        record["levels"] = None if labels is None else list(labels[:_MOST_LEVELS])
        is_time = self.model.schema.units[column] is not None
        if is_time:  # given as texts, as in a table file
            record["example"] = texts_of(self.model.schema, column, self._middle[[column]])[0]
        if self.data is not None and labels is None:
            values = self.data.table.values[:, self.data.table.schema.names.index(facts["name"])]
            ends = np.array([np.nanmin(values), np.nanmax(values)])
            low, high = texts_of(self.model.schema, column, ends) if is_time else ends
            record |= {"low": low, "high": high}
        return record

    @cached_property
    def _middle(self) -> Array:
        """The row in the middle of the encoded space, (d,), in the user's units."""
        return np.asarray(self.model.codec.decode(np.zeros((1, self.model.codec.n_encoded)))[0])


def choose_sampler_for(model: DiffusionModel, request: Sampled) -> Sampler:
    """Return the sampler that a request asks for, by default the model's own."""
    return choose_sampler(model.sampler, model.schedule, request.sampler, request.n_evaluations, request.eta)


@dataclass(frozen=True)
class Argument:
    """An argument, and its text in Python."""

    value: Any
    text: str


def fit_arguments(settings: SettingsRequest, kinds: Mapping[str, str], seed: int) -> dict[str, Argument]:
    """Return the arguments that differ from the defaults of `Diffusion`, or of `Diffusion.ddpm` with that preset.

    Raises Refusal for settings that do not go together.
    """
    arguments = dict[str, Argument]()
    is_ddpm, kind = settings.preset == "ddpm", settings.schedule
    if is_ddpm and kind == "log_snr":
        raise Refusal(400, "The preset ddpm takes the schedules linear and cosine.", "settings.schedule")
    if is_ddpm and settings.n_steps is not None and kind is None:
        kind = "linear"
    if is_ddpm and settings.beta_max is not None and kind is None:
        kind = "linear"
    if settings.beta_max is not None and kind != "linear":
        raise Refusal(400, "beta_max goes with the linear schedule.", "settings.beta_max")
    if kind in ("linear", "cosine"):
        arguments["schedule"] = schedule_argument(kind, settings.n_steps, settings.beta_max)
    elif settings.n_steps is not None:
        arguments["n_steps"] = _argument(settings.n_steps)
    if settings.denoiser is not None:
        arguments["denoiser"] = _argument(_architecture(settings.denoiser))
    if settings.sampler is not None:
        arguments["sampler"] = _argument(Sampler(settings.sampler, settings.n_evaluations, settings.eta))
    elif settings.n_evaluations is not None or settings.eta:
        raise Refusal(400, "n_evaluations and eta go with a sampler: choose one.", "settings.sampler")
    if settings.reverse_variance is not None:
        arguments["reverse_variance"] = _argument(settings.reverse_variance)
    if is_ddpm and settings.max_steps is not None:
        raise Refusal(400, "The preset ddpm counts epochs: give epochs in place of max_steps.", "settings.max_steps")
    if not is_ddpm and settings.epochs is not None:
        raise Refusal(400, "epochs goes with the preset ddpm: give max_steps.", "settings.epochs")
    if settings.epochs is not None:
        arguments["n_epochs"] = _argument(settings.epochs)
    for name in ("max_steps", "max_time"):
        if getattr(settings, name) is not None:
            arguments[name] = _argument(getattr(settings, name))
    if kinds:
        arguments["columns"] = _argument(dict(kinds))
    if settings.conditions != "auto":
        arguments["conditions"] = _argument(settings.conditions)
    arguments["random_state"] = _argument(seed)
    return arguments


def schedule_argument(kind: str, n_steps: int | None, beta_max: float | None) -> Argument:
    """Return a linear or a cosine schedule, by default of 100 steps."""
    n, more = n_steps or _USUAL_STEPS, {} if beta_max is None else {"beta_max": beta_max}
    text = f"NoiseSchedule.{kind}({n}{f', beta_max={beta_max!r}' if more else ''})"
    return Argument(getattr(NoiseSchedule, kind)(n, **more), text)


def make_estimator(settings: SettingsRequest, kinds: Mapping[str, str], seed: int, **more: Any) -> Diffusion:
    """Return an unfitted estimator."""
    given = {name: argument.value for name, argument in fit_arguments(settings, kinds, seed).items()}
    make = Diffusion.ddpm if settings.preset == "ddpm" else Diffusion
    return make(**given, verbose=False, **more)


def _architecture(network: Network) -> Residual | Textbook:
    if network.kind == "textbook":
        return Textbook(width=network.width, n_hidden=network.depth)
    return Residual(width=network.width, n_blocks=network.depth, n_members=network.members)


def _argument(value: Any) -> Argument:
    return Argument(value, repr(value))
