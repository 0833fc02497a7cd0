"""Fits in threads: events with snapshots as training goes on, stop, and go on.

All events are kept, so that a reloaded page sees a fit from its beginning. A snapshot has rows drawn with few
evaluations from the same noise each time; it takes at most a tenth of the fit's time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from backwalk import errors
from backwalk.errors import BackwalkError
from backwalk.fit.progress import FitProgress
from backwalk.formatting import as_json
from backwalk.model import DiffusionModel, denoise, sample_rows
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.web.models import ModelEntry, make_estimator
from backwalk.web.plane import Plane, choose_plane
from backwalk.web.requests import SettingsRequest
from backwalk.web.security import OUR_MISTAKE, Refusal
from backwalk.web.tables import DataEntry
from backwalk.web.workspaces import Workspace

SECONDS_BETWEEN_SNAPSHOTS = 0.5
SECONDS_BETWEEN_PROGRESS = 0.1
SECONDS_BETWEEN_LOOKS = 0.05  # of a stream at its fit
MOST_EVENTS = 4000  # then snapshots and progress come more rarely
MOST_STREAMS = 16  # of a fit's events; the oldest ends
LARGEST_SHARE = 0.1  # of the time of a fit that snapshots take
_N_ROWS, _N_ROWS_FOR_LIMITS = 1000, 5000
_SNAPSHOT_SAMPLER = Sampler("multistep", 20)
_FIELD_SIZE = 15
_FIELD_LOG_SNR = 0.0
_LOG = logging.getLogger(__name__)
_of_thread = threading.local()
_OUR_WARNINGS = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, UserWarning)]


@dataclass(frozen=True)
class Event:
    """An event of a fit: progress, snapshot, message, done or failed."""

    kind: str
    data: dict[str, Any]


class Fit:
    """One fit of a table.

    With `start` it goes on from a model's weights. Raises errors of settings that cannot be used.
    """

    def __init__(
        self,
        name: str,
        tab: Workspace,
        data: DataEntry,
        settings: SettingsRequest,
        seed: int,
        *,
        start: DiffusionModel | None = None,
    ) -> None:
        self.name, self.data, self.settings, self.seed = name, data, settings, seed
        self.events: list[Event] = []
        self.model: ModelEntry | None = None
        self.was_stopped = False
        self._tab, self._start = tab, start
        self._stop, self._is_over, self._streams, self._streams_ended = threading.Event(), False, list[object](), False
        self._plane: Plane | None = None
        self._next_snapshot = self._next_progress = 0.0
        self._estimator = make_estimator(
            settings, data.kinds, seed, callbacks=[self._watch], warm_start=start is not None
        )
        if start is not None:
            self._estimator.model_ = start
        self._thread = threading.Thread(target=self._run, name=f"backwalk {name}", daemon=True)

    @property
    def is_running(self) -> bool:
        """Whether the fit has not ended."""
        return self._thread.is_alive() and not self._is_over

    def record(self) -> dict[str, Any]:
        """Return where the fit stands, as JSON values."""
        return {
            "fit": self.name,
            "state": "running" if self.is_running else "failed" if self.model is None else "done",
            "model": None if self.model is None else self.model.name,
        }

    def start(self) -> None:
        """Begin training."""
        self._thread.start()

    def stop(self) -> None:
        """Ask training to end after its current step."""
        self._stop.set()

    def join(self, seconds: float) -> None:
        """Wait for the end of the fit."""
        self._thread.join(seconds)

    def go_on(self, name: str, max_steps: int | None) -> Fit:
        """Return a fit that trains the model of this one further."""
        if self.model is None:
            raise Refusal(409, "The fit left no model to go on from: start another one.")
        changed = {} if max_steps is None else {"max_steps": max_steps, "max_time": None}
        settings = self.settings.model_copy(update=changed)
        return Fit(name, self._tab, self.data, settings, self.seed, start=self.model.model)

    async def follow(self, first: int) -> AsyncIterator[tuple[int, Event]]:
        """Yield the events from number `first` on with their numbers, until the fit is over."""
        stream = object()
        self._streams.append(stream)
        try:
            while stream in self._streams[-MOST_STREAMS:] and not self._streams_ended:
                is_over, n_events = self._is_over, len(self.events)
                for number in range(first, n_events):
                    yield number, self.events[number]
                if is_over:
                    return
                first = max(first, n_events)
                await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            self._streams.remove(stream)

    def end_streams(self) -> None:
        """End the streams of `follow`, as the server ends."""
        self._streams_ended = True

    def _put(self, kind: str, **data: Any) -> None:
        self.events.append(Event(kind, as_json(data)))

    def _run(self) -> None:
        began = time.monotonic()
        try:
            with _give_warnings(lambda text: self._put("message", message=text)):
                self._estimator.fit(self.data.table)
            self.was_stopped = self._estimator.model_.card["stopped_by"] == "callback"
            entry = ModelEntry(
                self._tab.models.new_id(),
                self._estimator,
                self.data,
                self.settings,
                self.seed,
                can_be_repeated=not self.was_stopped and self._start is None and self.settings.max_time is None,
            )
            self._tab.models.put(entry.name, entry)
            self.model = entry
            self._put(
                "done",
                model=entry.name,
                stopped=self.was_stopped,
                seconds=time.monotonic() - began,
                step=entry.model.history.n_steps,
            )
        except (BackwalkError, MemoryError) as error:
            self._put("failed", message=str(error) or "There is too little memory: give fewer rows.")
        except Exception:
            _LOG.error("a fit failed:\n%s", traceback.format_exc())
            self._put("failed", message=OUR_MISTAKE)
        finally:
            self._is_over = True

    def _watch(self, progress: FitProgress) -> bool:
        now, rarer = time.monotonic(), 1 + len(self.events) // (MOST_EVENTS // 4)
        if now >= self._next_progress or progress.share >= 1.0 or progress.validation_loss is not None:
            self._put(
                "progress",
                step=progress.step,
                n_steps=progress.max_steps,
                loss=progress.loss,
                held_out=progress.validation_loss,
                seconds=progress.seconds,
            )
            self._next_progress = now + SECONDS_BETWEEN_PROGRESS * rarer**2
        if now >= self._next_snapshot and not self._stop.is_set():
            self._put("snapshot", step=progress.step, **self._snapshot(progress.model()))
            end = time.monotonic()
            self._next_snapshot = end + max(SECONDS_BETWEEN_SNAPSHOTS * rarer**2, (end - now) / LARGEST_SHARE)
        return self._stop.is_set()

    def _snapshot(self, model: DiffusionModel) -> dict[str, Any]:
        """Return rows of the model so far, and x_0_hat on a grid at equal signal and noise."""
        if not len(model.codec.numbers):
            return {}
        if self._plane is None:
            names = self.data.table.schema.names
            columns = [names.index(name) for name in model.schema.names]
            self._plane = choose_plane(
                model, None, model.codec.encode(self.data.table.values[:_N_ROWS_FOR_LIMITS, columns])
            )
        plane = self._plane
        rows = sample_rows(model, 0, _N_ROWS, stream=Stream(self.seed).child("snapshot"), sampler=_SNAPSHOT_SAMPLER)
        points = plane.points(model.codec.encode(rows))
        points = points[~np.isnan(points).any(axis=1)]
        snapshot = {**plane.record(), "n": len(points), "samples": plane.as_base64(points)}
        if model.codec.n_encoded == 2 and not plane.is_single:
            *_, grid = plane.grid(_FIELD_SIZE)
            x_0_hat = denoise(model, torch.from_numpy(plane.rows(grid)).float(), torch.tensor(_FIELD_LOG_SNR))
            snapshot["field"] = {
                "size": _FIELD_SIZE,
                "log_snr": _FIELD_LOG_SNR,
                "x_0_hat": plane.as_base64(plane.points(x_0_hat.double().numpy())),
            }
        return snapshot


@contextmanager
def _give_warnings(tell: Callable[[str], object]) -> Iterator[None]:
    """Give the library's warnings of this thread to a function.

    Python's settings of warnings are those of a process. They stay set, because restoring them would change them for
    fits in other threads.
    """
    show_before = warnings.showwarning
    for category in _OUR_WARNINGS:
        warnings.simplefilter("always", category)

    def show(message: Warning | str, *others: Any, **named: Any) -> None:
        if (tell_of_thread := getattr(_of_thread, "tell", None)) is None:
            show_before(message, *others, **named)
        else:
            tell_of_thread(str(message))

    show.gives_by_thread = True  # type: ignore[attr-defined]
    if not hasattr(show_before, "gives_by_thread"):
        warnings.showwarning = show
    _of_thread.tell = tell
    try:
        yield
    finally:
        del _of_thread.tell
