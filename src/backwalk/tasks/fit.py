"""Fit a model to a table and save it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backwalk.errors import BackwalkError, CheckpointError, IncompatibleArguments, InvalidInput
from backwalk.estimator import Diffusion
from backwalk.files import file_lock
from backwalk.fit import (
    ChosenColumns,
    Settings,
    check_settings,
    choose_columns,
    choose_within,
    is_of_the_fit,
    is_of_these_versions,
    parameters_record,
    read_rows,
)
from backwalk.formatting import byte_words
from backwalk.limits import MEMORY
from backwalk.model import training_words
from backwalk.model_file import check_target
from backwalk.table import Option, Table, is_pattern
from backwalk.tasks.columns import facts_of_codec, lines_of
from backwalk.tasks.data import check_exists, is_built_in, read_data, refuse_rows, tell_left_out
from backwalk.tasks.models import load_model
from backwalk.tasks.observer import SILENT, Observer
from backwalk.training.checkpoint import SECONDS_BETWEEN, checkpoint_seed, checkpoint_step, refuse_foreign


@dataclass(frozen=True, eq=False)
class FitResult:
    """The saved model, its path, and whether an earlier run of the same fit had saved it already."""

    path: Path
    estimator: Diffusion
    was_fitted: bool

    def record(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        model = self.estimator.model_
        return {"model": str(self.path), "card": model.card, "prior_mismatch": model.prior_mismatch}


def fit(
    data: str,
    output: str | Path | None = None,
    *,
    ddpm: bool = False,
    epochs: int | None = None,
    max_steps: int | None = None,
    max_time: float | None = None,
    device: str = "auto",
    rows: int | None = None,
    memory: int = MEMORY,
    drop: Sequence[str] = (),
    drop_missing: bool = False,
    columns: Mapping[str, Option] | None = None,
    missing: str = "absent",
    conditions: Any = "auto",
    seed: int = 0,
    force: bool = False,
    resume: bool = False,
    checkpoint_every: float = SECONDS_BETWEEN,
    observer: Observer = SILENT,
) -> FitResult:
    """Fit a model to table files or to draws from a built-in density, and save it.

    `data` may name a file, a folder of files, or a pattern such as "data/*.parquet". The fit takes about `memory`
    bytes: of a table that does not fit, rows are chosen by their number (see `table.read_within`). `columns`, `missing`
    and `conditions` are as in `Diffusion`; columns of the kind "levels" are read from text files as texts, those of
    other kinds as numbers. The kinds of all columns, and those that are set aside, are messages
    before training. Without `output`, the model is saved in the current folder, under the name of the data. The state
    of training is kept in `checkpoint_of(output)` until the model is saved. With `resume` a stopped fit continues; a
    model that an earlier run of the same fit has saved is returned without another fit.
    """
    path = Path(default_output(data) if output is None else output)
    checkpoint = checkpoint_of(path)
    may_be_done = _may_be_done(path, checkpoint, resume=resume, force=force)
    estimator = _estimator(ddpm, epochs, max_steps, max_time, device, seed, observer)
    estimator.set_params(columns=columns, missing=missing, conditions=conditions)
    settings = check_settings(estimator.get_params(deep=False))
    if is_built_in(data):
        chosen = choose_columns(read_data(data, rows, seed, drop=drop, observer=observer).table, settings)
    else:
        refuse_rows(data, rows)
        chosen = _chosen_of_files(data, settings, memory, drop, drop_missing, observer)
    table = chosen.table
    done = _same_fit(path, settings, table) if may_be_done else None
    if done is not None:
        _remove_checkpoint(checkpoint, path, done)
        return FitResult(path, done, was_fitted=True)
    if may_be_done:
        check_target(path, overwrite=force)
    if table.columns is not None:
        observer.message(f"columns of {data}:")
        for line in lines_of(facts_of_codec(table.schema, chosen.codec, chosen.gaps), chosen.set_aside):
            observer.message(line)
    began = time.monotonic()
    estimator.fit(
        chosen,
        checkpoint=checkpoint,
        resume=resume,
        overwrite=force and not resume,
        checkpoint_every=checkpoint_every,
    )
    model = estimator.model_
    observer.message(
        f"fitted {len(table.values):,} rows in {time.monotonic() - began:.1f} s: {model.architecture}, "
        f"{training_words(model)}"
    )
    estimator.save(path, overwrite=force)
    _remove_checkpoint(checkpoint, path, estimator)
    return FitResult(path, estimator, was_fitted=False)


def _chosen_of_files(
    data: str, settings: Settings, memory: int, drop: Sequence[str], drop_missing: bool, observer: Observer
) -> ChosenColumns:
    if not is_pattern(data):
        check_exists(data, name="DATA")
    rows = read_rows(data, settings, memory=memory, drop=drop, drop_missing=drop_missing, watch=observer.progress)
    tell_left_out(data, rows.columns_left_out, rows.n_rows, rows.n_read, observer)
    chosen = choose_within(rows, settings, memory)
    if len(chosen.table.values) < chosen.n_rows:
        files = f" in {rows.n_files:,} files" if rows.n_files > 1 else ""
        observer.message(
            f"{data}: {chosen.n_rows:,} rows{files}, of which the fit takes {len(chosen.table.values):,}, chosen by "
            f"their number, in {byte_words(memory)} of memory (--memory)"
        )
    return chosen


def default_output(data: str) -> str:
    """Return the name of a model of this data: its file name with .backwalk for the suffix.

    That of a pattern is the name of its folder.

    >>> default_output("data/iris.csv.gz"), default_output("two_moons"), default_output("data/*.parquet")
    ('iris.backwalk', 'two_moons.backwalk', 'data.backwalk')
    """
    if data == "-":
        raise InvalidInput("A model of standard input needs a name: give one with -o.")
    if is_pattern(data):
        plain = [part for part in Path(data).parts if not is_pattern(part)]
        return f"{Path(*plain).name or 'model'}.backwalk"
    return f"{Path(data).name.removesuffix('.gz').rsplit('.', 1)[0] or 'model'}.backwalk"


def checkpoint_of(output: str | Path) -> Path:
    """Return where a fit keeps the state of its training while it runs."""
    output = Path(output)
    if not output.name:
        raise InvalidInput(f"OUTPUT should name a file or a folder, but got {str(output)!r}: give it a name.")
    return output.with_name(f"{output.name}.checkpoint")


def _may_be_done(path: Path, checkpoint: Path, *, resume: bool, force: bool) -> bool:
    """Return whether an earlier run may have saved this fit's model. Raises where files are in the way."""
    refuse_foreign(checkpoint)
    if checkpoint.exists() and not (resume or force):
        raise InvalidInput(f"{checkpoint} holds a stopped fit: continue it with --resume, or start over with --force.")
    if resume and not force and path.exists():
        return True
    check_target(path, overwrite=force)
    return False


def _estimator(
    ddpm: bool,
    epochs: int | None,
    max_steps: int | None,
    max_time: float | None,
    device: str,
    seed: int,
    observer: Observer,
) -> Diffusion:
    if ddpm and max_steps is not None:
        raise IncompatibleArguments("--max-steps goes with the default settings: with --ddpm, give --epochs.")
    if epochs is not None and not ddpm:
        raise IncompatibleArguments("--epochs goes with --ddpm: with the default settings, give --max-steps.")
    common: dict[str, Any] = {
        "max_time": max_time,
        "device": device,
        "random_state": seed,
        "verbose": observer.verbose,
    }
    if ddpm:
        estimator = Diffusion.ddpm(**(common if epochs is None else {"n_epochs": epochs, **common}))
    else:
        estimator = Diffusion(max_steps=max_steps, **common)
    estimator.set_params(callbacks=tuple(observer.callbacks))
    return estimator


def _same_fit(output: Path, settings: Settings, table: Table) -> Diffusion | None:
    """Return the saved model if this fit would give the same one: same rows, parameters, seed and versions."""
    try:
        saved = load_model(output, "cpu")
    except BackwalkError:
        return None
    card, asked = saved.model_.card, parameters_record(settings)
    theirs = {**card["parameters"], "verbose": asked["verbose"]}
    same_rows = saved.model_.schema == table.schema and is_of_the_fit(card, table.values)
    same = same_rows and theirs == asked and card["seed"] == settings.random_state
    return saved if same and is_of_these_versions(card) else None


def _remove_checkpoint(checkpoint: Path, output: Path, done: Diffusion) -> None:
    """Remove the checkpoint of the fit that saved `output`, in this run or in an earlier one that was killed.

    Such a checkpoint is older than the model. One that is newer or locked belongs to another fit, and stays.
    """
    model = done.model_
    # The checkpoint may be absent or damaged, or another process may hold it.
    with suppress(CheckpointError, OSError), file_lock(checkpoint):
        whose = checkpoint_seed(checkpoint), checkpoint_step(checkpoint)
        is_older = checkpoint.stat().st_mtime_ns <= output.stat().st_mtime_ns
        if whose == (model.card["seed"], model.history.n_steps) and is_older:
            checkpoint.unlink(missing_ok=True)
