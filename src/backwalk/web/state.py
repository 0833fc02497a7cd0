"""The state behind the routes: workspaces, the library once it has loaded, and lines for those that wait."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import to_thread
from starlette.requests import Request

from backwalk.web import start
from backwalk.web.refusals import Refusal
from backwalk.web.sessions import Sessions, Workspace

if TYPE_CHECKING:
    from backwalk.web.operations import Operations

MOST_AT_ONCE = 2  # requests that compute
MOST_WAITING = 128  # that wait for their turn
_LOG = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class Server:
    """The state behind the routes. `model` and `data` are paths, or a built-in density, that the page opens with."""

    def __init__(self, *, model: str | None = None, data: str | None = None) -> None:
        self.sessions = Sessions()
        self._model, self._data = model, data
        self._loading = threading.Lock()
        self._waiting = 0

    @cached_property
    def _limiters(self) -> dict[bool, anyio.CapacityLimiter]:
        """Reports, which take a minute, wait in a line of their own."""
        return {False: anyio.CapacityLimiter(MOST_AT_ONCE), True: anyio.CapacityLimiter(1)}

    @cached_property
    def _operations(self) -> Operations:
        with self._loading:
            from backwalk.web.opening import opened

            return opened(self.sessions, model=self._model, data=self._data)

    def operations(self) -> Operations:
        """Return the operations; the library loads at the first call."""
        return self._operations

    def load(self) -> None:
        """Load the library in the background."""
        threading.Thread(target=self._load, name="backwalk loads", daemon=True).start()

    def _load(self) -> None:
        try:
            self.operations()
        except Exception:  # a request will meet it again, and answer it
            _LOG.debug("loading failed:\n%s", traceback.format_exc())

    async def compute(self, function: Callable[[Operations], _Result], *, is_report: bool = False) -> _Result:
        """Return function(operations), called in a worker thread. Raises Refusal where too many wait already."""
        if self._waiting >= MOST_WAITING:
            raise Refusal(429, "Too many requests are waiting: try again in a moment.")
        self._waiting += 1
        try:
            return await to_thread.run_sync(lambda: function(self.operations()), limiter=self._limiters[is_report])
        finally:
            self._waiting -= 1

    def workspace(self, request: Request) -> Workspace:
        """Return the workspace of the tab that a request comes from."""
        name = request.headers.get("x-backwalk-workspace") or request.query_params.get("workspace")
        return self.sessions.workspace(name)

    def given_models(self) -> list[dict[str, str]]:
        """Return the model that the page was opened with, as the list of models has it."""
        return [] if self._model is None else [{"model": start.GIVEN, "title": Path(self._model).name}]

    @property
    def opened(self) -> str | None:
        """What the page was opened with: "model", "data" or None."""
        return "model" if self._model is not None else "data" if self._data is not None else None
