"""The page's settings as the arguments of a `Diffusion`: each one as an object, and as Python writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backwalk.denoiser import Residual, Textbook
from backwalk.diffusion import NoiseSchedule
from backwalk.estimator import Diffusion
from backwalk.sampling import Sampler
from backwalk.web.refusals import Refusal
from backwalk.web.requests import Network, SettingsRequest

_USUAL_STEPS = 100  # of a schedule that is named without a number of steps


@dataclass(frozen=True)
class Argument:
    """An argument, and its text in Python."""

    value: Any
    text: str


def arguments(settings: SettingsRequest, kinds: Mapping[str, str], seed: int) -> dict[str, Argument]:
    """Return the arguments that differ from the defaults of `Diffusion`, or of `Diffusion.ddpm` with that preset.

    Raises Refusal for settings that do not go together.
    """
    found = dict[str, Argument]()
    is_ddpm = settings.preset == "ddpm"
    if settings.schedule in ("linear", "cosine") or (is_ddpm and settings.n_steps):
        kind, n = "linear" if settings.schedule is None else settings.schedule, settings.n_steps or _USUAL_STEPS
        if kind not in ("linear", "cosine"):
            raise Refusal(400, "The preset ddpm takes the schedules linear and cosine.", "settings.schedule")
        found["schedule"] = Argument(getattr(NoiseSchedule, kind)(n), f"NoiseSchedule.{kind}({n})")
    elif is_ddpm and settings.schedule == "log_snr":
        raise Refusal(400, "The preset ddpm takes the schedules linear and cosine.", "settings.schedule")
    elif settings.n_steps is not None:
        found["n_steps"] = _plain(settings.n_steps)
    if settings.denoiser is not None:
        found["denoiser"] = _shown(_architecture(settings.denoiser))
    if settings.sampler is not None:
        found["sampler"] = _shown(Sampler(settings.sampler, settings.n_evaluations, settings.eta))
    elif settings.n_evaluations is not None or settings.eta:
        raise Refusal(400, "n_evaluations and eta go with a sampler: choose one.", "settings.sampler")
    if settings.reverse_variance is not None:
        found["reverse_variance"] = _plain(settings.reverse_variance)
    if is_ddpm and settings.max_steps is not None:
        raise Refusal(400, "The preset ddpm counts epochs: give epochs in place of max_steps.", "settings.max_steps")
    if not is_ddpm and settings.epochs is not None:
        raise Refusal(400, "epochs goes with the preset ddpm: give max_steps.", "settings.epochs")
    if settings.epochs is not None:
        found["n_epochs"] = _plain(settings.epochs)
    for name in ("max_steps", "max_time"):
        if getattr(settings, name) is not None:
            found[name] = _plain(getattr(settings, name))
    if kinds:
        found["columns"] = _plain(dict(kinds))
    if settings.missing != "absent":
        found["missing"] = _plain(settings.missing)
    if settings.conditions != "auto":
        found["conditions"] = _plain(settings.conditions)
    found["random_state"] = _plain(seed)
    return found


def estimator(settings: SettingsRequest, kinds: Mapping[str, str], seed: int, **more: Any) -> Diffusion:
    """Return an unfitted estimator."""
    given = {name: argument.value for name, argument in arguments(settings, kinds, seed).items()}
    make = Diffusion.ddpm if settings.preset == "ddpm" else Diffusion
    return make(**given, verbose=False, **more)


def _architecture(network: Network) -> Residual | Textbook:
    if network.kind == "textbook":
        return Textbook(width=network.width, n_hidden=network.depth)
    return Residual(width=network.width, n_blocks=network.depth, n_members=network.members)


def _plain(value: Any) -> Argument:
    return Argument(value, repr(value))


def _shown(value: Any) -> Argument:
    return Argument(value, repr(value))
