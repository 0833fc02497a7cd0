"""Fits in threads: events with snapshots as training goes on, stop, and go on.

All events are kept, so that a reloaded page sees a fit from its beginning. A snapshot has rows drawn by few evaluations
from the same noise each time; it takes at most a tenth of the fit's time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backwalk.errors import BackwalkError
from backwalk.estimator import Diffusion
from backwalk.formatting import as_json
from backwalk.model import DiffusionModel, denoised, sample_rows
from backwalk.progress import FitProgress
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.training import History
from backwalk.web.models import ModelEntry
from backwalk.web.packing import as_base64
from backwalk.web.refusals import OUR_MISTAKE
from backwalk.web.requests import SettingsRequest
from backwalk.web.settings import estimator
from backwalk.web.tables import DataEntry
from backwalk.web.views import View, view_of
from backwalk.web.warnings_by_thread import told_warnings

BETWEEN_SNAPSHOTS = 0.5  # seconds
BETWEEN_PROGRESS = 0.1
MOST_EVENTS = 4000  # then snapshots and progress come more rarely
LARGEST_SHARE = 0.1  # of the time of a fit that snapshots take
_ROWS, _FOR_LIMITS = 1000, 5000
_SNAPSHOT_SAMPLER = Sampler("dpm++2m", 20)
_FIELD_SIZE = 15
_FIELD_LOG_SNR = 0.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """An event of a fit: progress, snapshot, message, done or failed."""

    kind: str
    data: dict[str, Any]


class Fit:
    """One fit, from its start or from where an earlier one ended."""

    def __init__(
        self,
        name: str,
        data: DataEntry,
        settings: SettingsRequest,
        seed: int,
        folder: Path,
        keep: Callable[[Fit], ModelEntry],
        before: Fit | None = None,
    ) -> None:
        resumed = before if before is not None and before.can_resume else None
        self.name, self.data, self.settings, self.seed = name, data, settings, seed
        self.events: list[Event] = []
        self.checkpoint: Path = folder / f"{name}.checkpoint" if resumed is None else resumed.checkpoint
        self.can_resume: bool = False
        self.fitted: Diffusion | None = None
        self.model: str | None = None
        self._resume = resumed is not None
        self._before = before.fitted if before is not None and resumed is None else None
        self._keep, self._stops, self._changed = keep, threading.Event(), threading.Condition()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._thread = threading.Thread(target=self._run, name=f"backwalk {name}", daemon=True)
        self._is_over = self._is_left = False
        self._view: View | None = None
        self._next_snapshot = self._next_progress = 0.0
        self._last_validation: float | None = None
        # Settings that cannot be used are refused before the thread starts.
        self._estimator = estimator(
            settings, data.kinds, seed, callbacks=[self._watch], warm_start=self._before is not None
        )
        if self._before is not None:
            self._estimator.model_ = self._before.model_

    @property
    def can_be_repeated(self) -> bool:
        """Whether a fit with the same settings and seed gives the same model."""
        return not self.can_resume and self._before is None and self.settings.max_time is None

    def record(self) -> dict[str, Any]:
        """Return where the fit stands, as JSON values."""
        state = "running" if self.is_running else "failed" if self.model is None else "done"
        return {
            "fit": self.name,
            "data": self.data.name,
            "settings": self.settings.model_dump(),
            "seed": self.seed,
            "state": state,
            "model": self.model,
            "can_go_on": not self.is_running and self.model is not None,
        }

    @property
    def is_running(self) -> bool:
        """Whether the fit has not ended."""
        return self._thread.is_alive() and not self._is_over

    def start(self) -> None:
        """Begin training."""
        self._thread.start()

    def stop(self) -> None:
        """Ask training to end after its current step."""
        self._stops.set()

    def end_streams(self) -> None:
        """End the streams of `follow`, as the server ends."""
        self._is_left = True
        self._tell()

    def join(self, seconds: float) -> None:
        """Wait for the end of the fit, if it was started."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    async def follow(self, first: int) -> AsyncIterator[tuple[int, Event] | None]:
        """Yield the events from number `first` on with their numbers until the fit is over; None after silence."""
        waiting = asyncio.get_running_loop(), asyncio.Event()
        self._waiting.add(waiting)
        try:
            while True:
                waiting[1].clear()
                is_over, n_events = self._is_over, len(self.events)
                for number in range(first, n_events):
                    yield number, self.events[number]
                first = n_events
                if is_over or self._is_left:
                    return
                try:
                    await asyncio.wait_for(waiting[1].wait(), 10.0)
                except TimeoutError:
                    yield None
        finally:
            self._waiting.discard(waiting)

    def _put(self, kind: str, **data: Any) -> None:
        self.events.append(Event(kind, as_json(data)))
        self._tell()

    def _tell(self) -> None:
        for loop, event in list(self._waiting):
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # the loop is closed
                self._waiting.discard((loop, event))

    def _run(self) -> None:
        began = time.monotonic()
        try:
            with told_warnings(lambda text: self._put("message", message=text)):
                self._estimator.fit(
                    self.data.table, checkpoint=self.checkpoint, resume=self._resume, overwrite=not self._resume
                )
            stopped = self._estimator.model_.card["stopped_by"] == "callback"
            self.can_resume, self.fitted = stopped, self._estimator
            self.model = self._keep(self).name
            history: History = self._estimator.history_
            self._put(
                "done",
                model=self.model,
                words=str(self._estimator.model_),
                stopped=stopped,
                seconds=time.monotonic() - began,
                step=history.n_steps,
                chosen_step=history.chosen_step,
                can_go_on=True,
            )
        except (BackwalkError, MemoryError) as error:
            self._put("failed", message=str(error) or "There is too little memory: give fewer rows.")
        except Exception:
            _LOG.error("a fit failed:\n%s", traceback.format_exc())
            self._put("failed", message=OUR_MISTAKE)
        finally:
            if not self.can_resume:
                self.checkpoint.unlink(missing_ok=True)
            self._is_over = True
            self._tell()

    def _watch(self, progress: FitProgress) -> bool:
        now, is_last = time.monotonic(), progress.share >= 1.0
        if progress.validation_loss is not None:
            self._last_validation = progress.validation_loss
        if now >= self._next_progress or is_last or progress.validation_loss is not None:
            self._put(
                "progress",
                step=progress.step,
                n_steps=progress.max_steps,
                loss=progress.loss,
                held_out=progress.validation_loss,
                seconds=progress.seconds,
                share=progress.share,
            )
            self._next_progress = now + BETWEEN_PROGRESS * (1 + len(self.events) // (MOST_EVENTS // 4)) ** 2
        if now >= self._next_snapshot and not self._stops.is_set():
            self._put("snapshot", step=progress.step, **self._snapshot(progress.model()))
            took, rarer = time.monotonic() - now, 1 + len(self.events) // (MOST_EVENTS // 4)
            self._next_snapshot = time.monotonic() + max(BETWEEN_SNAPSHOTS * rarer**2, took / LARGEST_SHARE)
        return self._stops.is_set()

    def _snapshot(self, model: DiffusionModel) -> dict[str, Any]:
        if not len(model.codec.numbers):
            return {}
        if self._view is None:
            names = self.data.table.schema.names
            values = self.data.table.values[:_FOR_LIMITS, [names.index(name) for name in model.schema.names]]
            self._view = view_of(model, None, model.codec.encode(values))
        view = self._view
        rows = sample_rows(model, 0, _ROWS, stream=Stream(self.seed).child("snapshot"), sampler=_SNAPSHOT_SAMPLER)
        points = view.points(model.codec.encode(rows))
        points = points[~np.isnan(points).any(axis=1)]
        found = {**view.record(), "n": len(points), "samples": as_base64(points, view.limits)}
        if model.codec.n_encoded == 2 and not view.is_single:
            left, right, bottom, top = view.limits
            x, y = np.linspace(left, right, _FIELD_SIZE), np.linspace(bottom, top, _FIELD_SIZE)
            grid = np.stack([np.tile(x, _FIELD_SIZE), np.repeat(y, _FIELD_SIZE)], axis=1)
            x_0_hat = denoised(model, torch.from_numpy(view.rows(grid)).float(), torch.tensor(_FIELD_LOG_SNR))
            found["field"] = {
                "size": _FIELD_SIZE,
                "log_snr": _FIELD_LOG_SNR,
                "x_0_hat": as_base64(view.points(x_0_hat.double().numpy()), view.limits),
            }
        return found
