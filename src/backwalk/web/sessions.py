"""Workspaces: what browser tabs have made, bounded in number, size and time.

A workspace is a tab's: its id comes with each request, and a reload keeps it. It holds tables, models and fits, the
oldest of which make room for new ones. Workspaces that nobody has asked for in a while are dropped, the oldest first
where there are too many; those that train stay.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from backwalk.web.refusals import Refusal

if TYPE_CHECKING:
    from backwalk.web.jobs import Fit
    from backwalk.web.models import ModelEntry
    from backwalk.web.tables import DataEntry

MOST_WORKSPACES = 32
MOST_KEPT = 8  # tables, models and fits of a workspace, each of them
LONGEST_IDLE = 2 * 3600.0  # seconds
MOST_RUNNING = 2  # fits of all workspaces together
MOST_CELLS, MOST_CELLS_IN_ALL = 2**23, 2**26  # of a table, and of all tables together
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_Item = TypeVar("_Item")


class Shelf(Generic[_Item]):
    """Items by id, of which the oldest make room for new ones."""

    def __init__(self, what: str, most: int = MOST_KEPT) -> None:
        self._what, self._most, self._items = what, most, OrderedDict[str, _Item]()
        self._count, self._lock = 0, threading.Lock()

    def new_id(self) -> str:
        """Return an id that no item has had."""
        with self._lock:
            self._count += 1
            return f"{self._what}-{self._count}"

    def put(self, name: str, item: _Item) -> None:
        """Add an item as the newest."""
        with self._lock:
            self._items[name] = item
            self._items.move_to_end(name)
            while len(self._items) > self._most:
                self._items.popitem(last=False)

    def get(self, name: str) -> _Item:
        """Return an item. Raises Refusal where there is none of this id."""
        with self._lock:
            if name in self._items:
                self._items.move_to_end(name)
                return self._items[name]
        raise Refusal(404, f"There is no {self._what} {name[:40]!r} here: it may have made room for newer ones.")

    def items(self) -> list[_Item]:
        """Return all items, the oldest first."""
        with self._lock:
            return list(self._items.values())

    def drop_oldest(self) -> bool:
        """Drop the oldest item of several; return whether there was one to drop."""
        with self._lock:
            if len(self._items) < 2:
                return False
            self._items.popitem(last=False)
            return True


@dataclass
class Workspace:
    """The tables, models and fits of a tab, and a folder for its files."""

    name: str
    folder: Path
    data: Shelf[DataEntry] = field(default_factory=lambda: Shelf("data"))
    models: Shelf[ModelEntry] = field(default_factory=lambda: Shelf("model"))
    fits: Shelf[Fit] = field(default_factory=lambda: Shelf("fit"))
    last_asked: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_running(self) -> bool:
        """Whether a fit is running."""
        return any(fit.is_running for fit in self.fits.items())

    @property
    def tables(self) -> dict[int, int]:
        """The cells of all tables in it, by their identity: those of models and fits may be in no list any more."""
        entries: list[DataEntry | None] = [*self.data.items()]
        entries += [*(model.data for model in self.models.items()), *(fit.data for fit in self.fits.items())]
        return {id(entry.table): entry.table.values.size for entry in entries if entry is not None}

    def drop_oldest(self) -> bool:
        """Drop the oldest table, model and fit, but for the last of each; return whether there was one to drop."""
        shelves: list[Shelf[Any]] = [self.data, self.models, self.fits]
        dropped = [shelf.drop_oldest() for shelf in shelves]
        return any(dropped)


class Sessions:
    """All workspaces of a server."""

    def __init__(self, folder: Path | None = None) -> None:
        self._own_folder = tempfile.TemporaryDirectory(prefix="backwalk-web-") if folder is None else None
        self._folder = Path(self._own_folder.name) if self._own_folder is not None else folder
        self._workspaces, self._lock = OrderedDict[str, Workspace](), threading.Lock()

    def workspace(self, name: str | None) -> Workspace:
        """Return a tab's workspace, a new one where there is none. Raises Refusal where all are training."""
        if name is None or not _ID.fullmatch(name):
            raise Refusal(400, "X-Backwalk-Workspace should be 8 to 64 letters, digits, - and _.", "workspace")
        with self._lock:
            now = time.monotonic()
            if name not in self._workspaces:
                self._make_room(now)
                assert self._folder is not None
                folder = Path(tempfile.mkdtemp(dir=self._folder))
                self._workspaces[name] = Workspace(name, folder)
            self._workspaces.move_to_end(name)
            self._workspaces[name].last_asked = now
            return self._workspaces[name]

    def keep_data(self, workspace: Workspace, entry: DataEntry) -> None:
        """Add a table to a workspace; older ones, and those of idle workspaces, make room for its cells.

        Raises Refusal for a table that is too large.
        """
        cells = entry.table.values.size
        if cells > MOST_CELLS:
            raise Refusal(
                413,
                f"A table should have at most {MOST_CELLS:,} cells here, but has {cells:,}: give fewer rows, or use "
                "`backwalk fit`.",
            )
        with self._lock:
            workspace.data.put(entry.name, entry)
            idle = [each for each in self._workspaces.values() if each is not workspace and not each.is_running]
            while sum(sum(each.tables.values()) for each in self._workspaces.values()) > MOST_CELLS_IN_ALL:
                if idle:
                    self._drop(idle.pop(0))
                elif workspace.is_running or not workspace.drop_oldest():
                    return

    def begin(self, workspace: Workspace, name: str, fit: Fit) -> None:
        """Start a fit, which gets the id `name`. Raises Refusal where one is running, or too many are elsewhere."""
        with self._lock:
            if workspace.is_running:
                raise Refusal(429, "A fit is running here: stop it before the next one.")
            if sum(each.is_running for each in self._workspaces.values()) >= MOST_RUNNING:
                raise Refusal(429, f"{MOST_RUNNING} fits are running in other tabs: stop one of them, or wait.")
            workspace.fits.put(name, fit)
            fit.start()

    def end_streams(self) -> None:
        """Stop all fits, and end the streams of their events."""
        with self._lock:
            fits = [fit for workspace in self._workspaces.values() for fit in workspace.fits.items()]
        for fit in fits:
            fit.stop()
            fit.end_streams()

    def stop(self) -> None:
        """Stop all fits and remove all files."""
        with self._lock:
            fits = [fit for workspace in self._workspaces.values() for fit in workspace.fits.items()]
            self._workspaces.clear()
        for fit in fits:
            fit.stop()
        for fit in fits:
            fit.join(5.0)
        if self._own_folder is not None:
            self._own_folder.cleanup()

    def _drop(self, workspace: Workspace) -> None:
        del self._workspaces[workspace.name]
        shutil.rmtree(workspace.folder, ignore_errors=True)

    def _make_room(self, now: float) -> None:
        idle = [each for each in self._workspaces.values() if not each.is_running]
        n_over = len(self._workspaces) + 1 - MOST_WORKSPACES
        old = [each for each in idle if now - each.last_asked > LONGEST_IDLE]
        for workspace in old if n_over <= len(old) else idle[:n_over]:
            self._drop(workspace)
        if len(self._workspaces) >= MOST_WORKSPACES:
            raise Refusal(429, f"{MOST_WORKSPACES} tabs are training: close one of them.")
