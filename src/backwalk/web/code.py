"""The page's rows as Python and as command lines, which give the very same rows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from backwalk.datasets import MIXED_DENSITIES
from backwalk.web.models import Argument, ModelEntry, fit_arguments
from backwalk.web.requests import DrawRequest, SettingsRequest
from backwalk.web.tables import DataEntry, Source

DOWNLOAD = "model.safetensors"
_FIT_OPTIONS = {"max_steps": "--max-steps", "max_time": "--max-time", "n_epochs": "--epochs"}
_PUBLIC = ("NoiseSchedule", "Residual", "Sampler", "Textbook")


OWN = """\
import torch
from backwalk import Diffusion, NoiseSchedule
from backwalk.datasets import two_moons
from backwalk.sampling import Solver


class MyNetwork(torch.nn.Module):  # of noisy points, (n, d), and of their noise levels, (n,)
    def __init__(self, d):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(d + 1, 64), torch.nn.SiLU(), torch.nn.Linear(64, d))

    def forward(self, x_t, level):
        return self.layers(torch.cat([x_t, level[:, None]], dim=1))


class MySolver(Solver):  # DDIM: the mean of the next point, from the points and estimates so far, newest first
    name = "my-solver"

    def mean(self, visits, t, schedule):
        x_t, x_0_hat = visits[0]
        eps = (x_t - schedule.alpha_bar[t] ** 0.5 * x_0_hat) / schedule.one_minus_alpha_bar[t] ** 0.5
        return schedule.alpha_bar[t - 1] ** 0.5 * x_0_hat + schedule.one_minus_alpha_bar[t - 1] ** 0.5 * eps


beta = torch.linspace(0.001, 0.1, 100)  # beta_1 to beta_N
model = Diffusion(schedule=NoiseSchedule.from_beta(beta), denoiser=MyNetwork(2), max_steps=2000)
model.fit(two_moons().sample(10_000, random_state=0))
rows = model.sample(2000, sampler="my-solver", n_evaluations=20)
model.show()  # this page, with all three
"""
"""A schedule, a network and a solver of the user's own."""


def of_model(entry: ModelEntry, draw: DrawRequest) -> dict[str, Any]:
    """Return code that draws rows from a model: it is fitted again, or loaded where a fit would differ."""
    return {**_of_model(entry, draw), "own": OWN}


def _of_model(entry: ModelEntry, draw: DrawRequest) -> dict[str, Any]:
    if entry.path is not None:
        return _of_file(entry.path, draw, "", _own_network(entry))
    if entry.data is None:
        return _of_file(DOWNLOAD, draw, "Download the model first, or call sample of your own.", _own_network(entry))
    if entry.settings is None or not entry.can_be_repeated:
        why = (
            "Download the model first: training was stopped, went on, or had a time limit, so that another fit differs."
        )
        return _of_file(DOWNLOAD, draw, why)
    return of_fit(entry.data, entry.settings, entry.seed, draw)


def of_fit(data: DataEntry, settings: SettingsRequest, seed: int, draw: DrawRequest) -> dict[str, Any]:
    """Return code that fits a model to a table and draws rows from it."""
    if draw.reverse_variance is not None:  # training does not depend on them
        settings = settings.model_copy(update={"reverse_variance": draw.reverse_variance})
    arguments = fit_arguments(settings, data.kinds, seed)
    is_ddpm = settings.preset == "ddpm"
    texts = ", ".join(f"{name}={argument.text}" for name, argument in arguments.items())
    lines = [
        *_rows_in_python(data.source),
        f"model = Diffusion{'.ddpm' if is_ddpm else ''}({texts}).fit(X)",
        _draws(draw),
    ]
    python = "\n".join([*_imports(data.source, lines), "", *lines, ""])
    command = _fit_command(data, arguments, seed, is_ddpm=is_ddpm)
    notes = []
    if data.source.file is not None:
        notes.append(f"{data.source.file} should lie in the current folder.")
    if settings.max_time is not None:
        notes.append(
            "Fits with a time limit differ from each other: give max_steps for the same rows, or download the model."
        )
    if command is None:
        notes.append(
            f"`backwalk fit` has no options for these settings: download the model as {DOWNLOAD} for the commands."
        )
    shell = _sample_command(DOWNLOAD if command is None else "model.backwalk", draw)
    return {
        "python": python,
        "shell": shell if command is None else f"{command}\n{shell}",
        "same_rows": settings.max_time is None,
        "note": " ".join(notes),
    }


def _own_network(entry: ModelEntry) -> str | None:
    """Return the name of the class of a user's network."""
    architecture = entry.model.architecture
    return type(architecture).__name__ if isinstance(architecture, nn.Module) else None


def _of_file(path: str, draw: DrawRequest, note: str, network: str | None = None) -> dict[str, Any]:
    lines = [f"model = Diffusion.load({path!r}{f', denoiser={network}(...)' if network else ''})"]
    if network:
        note = f"{note} {network} is your own class, without which commands cannot read the model.".strip()
    if draw.reverse_variance is not None:
        note = f"{note} The reverse variances are the model's own here, not {draw.reverse_variance}.".strip()
    lines.append(_draws(draw))
    python = "\n".join([*_imports(None, lines), "", *lines, ""])
    same = draw.reverse_variance is None
    return {"python": python, "shell": _sample_command(path, draw), "same_rows": same, "note": note}


def _imports(source: Source | None, lines: Sequence[str]) -> list[str]:
    names = sorted(
        {"Diffusion", *(name for name in _PUBLIC if any(f"{name}(" in line or f"{name}." in line for line in lines))}
    )
    ours = f"from backwalk import {', '.join(names)}"
    if source is None:
        return [ours]
    if source.file is not None:
        return [ours, f"from backwalk.table import {'Selection, read_part' if source.dropped else 'read_table'}"]
    return [ours, f"from backwalk.datasets import {source.density or 'around_points'}"]


def _rows_in_python(source: Source) -> list[str]:
    if source.file is not None:
        if source.dropped:
            return [f"X = read_part({source.file!r}, Selection(drop={source.dropped!r})).table"]
        return [f"X = read_table({source.file!r})"]
    drawn = f"sample({source.n}, random_state={source.seed})"
    if source.points is not None:
        return [f"X = around_points({[list(point) for point in source.points]!r}).{drawn}"]
    if source.density in MIXED_DENSITIES:
        dropped = f".drop(columns={list(source.dropped)!r})" if source.dropped else ""
        return [f"density = {source.density}()", f"X = density.as_frame(density.{drawn}){dropped}"]
    return [f"X = {source.density}().{drawn}"]


def _draws(draw: DrawRequest) -> str:
    texts = [str(draw.n), *([f"given={draw.given!r}"] if draw.given else [])]
    if draw.sampler is not None and draw.eta:
        texts.append(f"sampler=Sampler({draw.sampler!r}, {draw.n_evaluations!r}, {draw.eta!r})")
    else:
        texts += [f"sampler={draw.sampler!r}"] if draw.sampler is not None else []
        texts += [f"n_evaluations={draw.n_evaluations}"] if draw.n_evaluations is not None else []
    return f"rows = model.sample({', '.join([*texts, f'random_state={draw.seed}'])})"


def _fit_command(data: DataEntry, arguments: Mapping[str, Argument], seed: int, *, is_ddpm: bool) -> str | None:
    """Return the command that fits the same model; None where the command line has no options for it."""
    source = data.source
    words = ["backwalk", "fit", source.density or _path(source.file or "")]
    if source.points is not None or source.density in MIXED_DENSITIES or (source.density and source.seed != seed):
        return None
    if source.density is not None:
        words += ["--rows", str(source.n)]
    for name in source.dropped:
        words += ["--drop", name]
    words += ["--ddpm"] if is_ddpm else []
    for name, argument in arguments.items():
        if name == "random_state":
            words += ["--seed", str(argument.value)]
        elif name == "columns":
            if not _levels_are_texts(data, argument.value):
                return None
            for column, kind in argument.value.items():
                words += ["--column", f"{column}={kind}"]
        elif name == "conditions":
            words += ["--conditions", "none" if argument.value is None else str(argument.value)]
        elif name in _FIT_OPTIONS:
            words += [_FIT_OPTIONS[name], str(argument.value)]
        else:
            return None
    return _command([*words, "-o", "model.backwalk"])


def _levels_are_texts(data: DataEntry, kinds: Mapping[str, str]) -> bool:
    """Return whether columns of the kind "levels" are texts already, as the command line reads them as texts."""
    labelled = data.table.schema.labelled
    return all(name in labelled for name, kind in kinds.items() if kind == "levels")


def _sample_command(model: str, draw: DrawRequest) -> str:
    words = ["backwalk", "sample", _path(model), "-n", str(draw.n), "--seed", str(draw.seed)]
    for name, value in draw.given.items():
        words += ["--given", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
    words += ["--sampler", draw.sampler] if draw.sampler is not None else []
    words += ["--evaluations", str(draw.n_evaluations)] if draw.n_evaluations is not None else []
    words += ["--eta", repr(draw.eta)] if draw.sampler is not None and draw.eta else []
    return _command([*words, "-o", "rows.csv"])


def _command(words: Sequence[str]) -> str:
    """Return words as a line of a shell: quoted, with control characters as escapes.

    >>> from backwalk.web.code import _command
    >>> _command(["fit", "my table.csv", "a\\x1b[2J'"])
    "fit 'my table.csv' $'a\\\\x1b[2J\\\\''"
    """
    return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in words)


def _escaped(word: str) -> str:
    return "$'" + "".join(f"\\{sign}" if sign in "\\'" else _escaped_sign(sign) for sign in word) + "'"


def _escaped_sign(sign: str) -> str:
    return sign if sign.isprintable() else "".join(f"\\x{byte:02x}" for byte in sign.encode("utf-8", "surrogatepass"))


def _path(name: str) -> str:
    """Return a file's name as a command's argument, which begins with no hyphen."""
    return f"./{name}" if name.startswith("-") else name
