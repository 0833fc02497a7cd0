"""Fitted models of a workspace, what the page says about them, and the arguments of their fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from backwalk.datasets import Density, MixtureForm, mixture_form
from backwalk.denoiser import Residual, Textbook
from backwalk.diffusion import NoiseSchedule
from backwalk.estimator import Diffusion
from backwalk.formatting import as_json, listed
from backwalk.model import DiffusionModel, default_decoder_variance, mismatch_warning
from backwalk.sampling import Sampler, choose_sampler
from backwalk.table import NumberColumn
from backwalk.tasks.columns import facts_of_codec, words_of
from backwalk.web.requests import ChainLike, Network, Refusal, Sampled, SettingsRequest
from backwalk.web.tables import DataEntry

_USUAL_STEPS = 100  # of a schedule that is named without a number of steps


@dataclass(eq=False)
class ModelEntry:
    """A model, and the table, settings and seed of its fit, if they are known.

    `path` is that of a model that the page was opened with. `can_be_repeated` is False where another fit with the same
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

    def __post_init__(self) -> None:
        self.title = self.title or self._made_title()

    def _made_title(self) -> str:
        rows = "a table" if self.data is None else self.data.title
        if self.settings is None:
            return f"{rows[:1].upper()}{rows[1:]}"
        how = "the notebook's settings" if self.settings.preset == "ddpm" else "default settings"
        changed = [name for name, value in self.settings if value != SettingsRequest.model_fields[name].default]
        changed = [
            name.replace("_", " ") for name in changed if name not in ("preset", "max_steps", "max_time", "epochs")
        ]
        own = f" with own {listed(changed)}" if changed else ""
        stopped = (
            f", stopped at step {self.model.history.n_steps:,}" if self.model.card["stopped_by"] == "callback" else ""
        )
        return f"{rows[:1].upper()}{rows[1:]}, {how}{own}, seed {self.seed}{stopped}"

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
        if self.density is None or not all(isinstance(column, NumberColumn) for column in columns):
            return None
        form = mixture_form(self.density)
        if form is None:
            return None
        centre, scale = (self.model.codec.decode([[end] * len(columns)])[0] for end in (0.0, 1.0))
        return form.encoded(centre, scale - centre)

    def _range(self, column: int) -> dict[str, Any]:
        """Return the range and the gaps of a column in the rows of the fit, where these are known."""
        if self.data is None:
            return {}
        name = self.model.schema.names[column]
        values = self.data.table.values[:, self.data.table.schema.names.index(name)]
        there = values[~np.isnan(values)]
        ends = (None, None) if self.model.schema.labels[column] is not None else (there.min(), there.max())
        return {"low": ends[0], "high": ends[1], "n_missing": len(values) - len(there)}

    def record(self) -> dict[str, Any]:
        """Return what the page says about the model."""
        model, schedule = self.model, self.model.schedule
        facts = facts_of_codec(model.schema, model.codec)
        names = model.schema.names
        return as_json(  # type: ignore[no-any-return]
            {
                "model": self.name,
                "title": self.title,
                "settings": None if self.settings is None else self.settings.model_dump(),
                "seed": self.seed,
                "data": None if self.data is None else self.data.name,
                "card": model.card,
                "columns": [
                    {
                        **{key: fact[key] for key in ("name", "kind", "dtype")},
                        "description": words_of(fact),
                        "levels": None if model.schema.labels[j] is None else list(model.schema.labels[j] or ())[:200],
                        **self._range(j),
                    }
                    for j, fact in enumerate(facts)
                ],
                "schedule": {
                    "n_steps": schedule.n_steps,
                    "t": list(range(schedule.n_steps + 1)),
                    "beta": schedule.beta,
                    "alpha_bar": schedule.alpha_bar,
                    "log_snr": schedule.log_snr,
                    "sigma_sq": model.sigma_sq,
                },
                "prior_mismatch": model.prior_mismatch,
                "warning": mismatch_warning(model.prior_mismatch, schedule),
                "sampler": {
                    "solver": model.sampler.solver,
                    "n_evaluations": len(model.sampler.times(schedule)),
                    "eta": model.sampler.eta,
                    "words": model.sampler.describe(schedule),
                },
                "reverse_variance": model.reverse_variance,
                "history": {
                    "step": model.history.step,
                    "loss": model.history.loss,
                    "validation_step": model.history.validation_step,
                    "validation_loss": model.history.validation_loss,
                    "loss_name": model.history.loss_name,
                    "n_steps": model.history.n_steps,
                    "chosen_step": model.history.chosen_step,
                },
                "n_parameters": model.card.get("n_parameters"),
                "words": repr(model).splitlines(),
                "is_table": bool(model.codec.blocks) or model.schema.columns is not None,
                "takes_conditions": model.conditions == "any",
                "drawable": [names[j] for j in model.codec.drawable],
                "has_chain": len(model.codec.numbers) > 0,
                "has_exact": self.exact is not None,
                "has_density": self.density is not None,
                "has_entropy": self.density is not None,
            }
        )


def sampler_for(model: DiffusionModel, request: Sampled) -> Sampler:
    """Return the sampler that a request asks for."""
    return choose_sampler(model.sampler, model.schedule, request.sampler, request.n_evaluations, request.eta)


def model_for(model: DiffusionModel, request: ChainLike) -> DiffusionModel:
    """Return the model with the reverse variances that a request asks for."""
    kind = request.reverse_variance
    if kind is None or kind == model.reverse_variance:
        return model
    decoder = default_decoder_variance(kind, model.schedule, model.denoising_error)
    return replace(model, reverse_variance=kind, decoder_variance=decoder)


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
    if kind in ("linear", "cosine"):
        n = settings.n_steps or _USUAL_STEPS
        arguments["schedule"] = Argument(getattr(NoiseSchedule, kind)(n), f"NoiseSchedule.{kind}({n})")
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
    if settings.missing != "absent":
        arguments["missing"] = _argument(settings.missing)
    if settings.conditions != "auto":
        arguments["conditions"] = _argument(settings.conditions)
    arguments["random_state"] = _argument(seed)
    return arguments


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
