"""Workspaces: what browser tabs have made, bounded in number and size.

A workspace is a tab's: its id comes with each request, and a reload keeps it. It holds tables, models and fits, the
oldest of which make room for new ones. The workspace that was not used for the longest time makes room for a new tab,
unless it trains.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from backwalk.web.security import Refusal

if TYPE_CHECKING:
    from backwalk.web.fits import Fit
    from backwalk.web.models import ModelEntry
    from backwalk.web.tables import DataEntry

MOST_WORKSPACES = 32
MOST_KEPT = 8  # tables, models and fits of a workspace, each of them
MOST_RUNNING = 2  # fits of all workspaces together
MOST_CELLS = 2**23  # of a table
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_Item = TypeVar("_Item")


class Shelf(Generic[_Item]):
    """Items by id, of which the oldest make room for new ones."""

    def __init__(self, kind: str) -> None:
        self._kind, self._items, self._count, self._lock = kind, OrderedDict[str, _Item](), 0, threading.Lock()

    def new_id(self) -> str:
        """Return an id that no item has had."""
        with self._lock:
            self._count += 1
            return f"{self._kind}-{self._count}"

    def put(self, name: str, item: _Item) -> None:
        """Add an item as the newest."""
        with self._lock:
            self._items[name] = item
            while len(self._items) > MOST_KEPT:
                self._items.popitem(last=False)

    def get(self, name: str) -> _Item:
        """Return an item. Raises Refusal for an unknown id."""
        with self._lock:
            if name in self._items:
                self._items.move_to_end(name)
                return self._items[name]
        raise Refusal(404, f"There is no {self._kind} {name[:40]!r} here: it may have made room for newer ones.")

    def items(self) -> list[_Item]:
        """Return all items, the oldest first."""
        with self._lock:
            return list(self._items.values())


@dataclass
class Workspace:
    """The tables, models and fits of a tab, and a folder for its files."""

    folder: Path
    data: Shelf[DataEntry] = field(default_factory=lambda: Shelf("data"))
    models: Shelf[ModelEntry] = field(default_factory=lambda: Shelf("model"))
    fits: Shelf[Fit] = field(default_factory=lambda: Shelf("fit"))

    @property
    def is_running(self) -> bool:
        """Whether a fit is running."""
        return any(fit.is_running for fit in self.fits.items())

    def keep_data(self, entry: DataEntry) -> None:
        """Add a table. Raises Refusal for one that is too large."""
        n_cells = entry.table.values.size
        if n_cells > MOST_CELLS:
            raise Refusal(
                413,
                f"A table should have at most {MOST_CELLS:,} cells here, but has {n_cells:,}: give fewer rows, or use "
                "`backwalk fit`.",
            )
        self.data.put(entry.name, entry)


class Workspaces:
    """All workspaces of a server."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="backwalk-web-")
        self._workspaces, self._lock = OrderedDict[str, Workspace](), threading.Lock()

    def get(self, name: str | None) -> Workspace:
        """Return a tab's workspace, a new one where there is none. Raises Refusal where all are training."""
        if name is None or not _ID.fullmatch(name):
            raise Refusal(400, "X-Backwalk-Workspace should be 8 to 64 letters, digits, - and _.", "workspace")
        with self._lock:
            if name not in self._workspaces:
                self._make_room()
                self._workspaces[name] = Workspace(Path(tempfile.mkdtemp(dir=self._folder.name)))
            self._workspaces.move_to_end(name)
            return self._workspaces[name]

    def begin_fit(self, workspace: Workspace, make_fit: Callable[[str], Fit]) -> str:
        """Start a fit, and return its id. Raises Refusal where one is running, or too many are in other tabs."""
        with self._lock:
            if workspace.is_running:
                raise Refusal(429, "A fit is running here: stop it before the next one.")
            if sum(each.is_running for each in self._workspaces.values()) >= MOST_RUNNING:
                raise Refusal(429, f"{MOST_RUNNING} fits are running in other tabs: stop one of them, or wait.")
            name = workspace.fits.new_id()
            fit = make_fit(name)
            workspace.fits.put(name, fit)
            fit.start()
            return name

    def stop_fits(self) -> None:
        """Stop all fits, and end the streams of their events."""
        for fit in self._fits():
            fit.stop()
            fit.end_streams()

    def close(self) -> None:
        """Stop all fits and remove all files."""
        self.stop_fits()
        for fit in self._fits():
            fit.join(2.0)
        self._folder.cleanup()

    def _fits(self) -> list[Fit]:
        with self._lock:
            return [fit for workspace in self._workspaces.values() for fit in workspace.fits.items()]

    def _make_room(self) -> None:
        if len(self._workspaces) < MOST_WORKSPACES:
            return
        idle = next((name for name, each in self._workspaces.items() if not each.is_running), None)
        if idle is None:
            raise Refusal(429, f"{MOST_WORKSPACES} tabs are training: close one of them.")
        shutil.rmtree(self._workspaces.pop(idle).folder, ignore_errors=True)
