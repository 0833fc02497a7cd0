"""The server of a launch: a port of 127.0.0.1, the printed address, and the browser."""

from __future__ import annotations

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from backwalk.errors import InvalidInput
from backwalk.web import shipped
from backwalk.web.app import Page, make_app
from backwalk.web.security import LOOPBACK, Launch

if TYPE_CHECKING:
    from backwalk.estimator import Diffusion


class PageServer(uvicorn.Server):
    """uvicorn's server, which stops fits and their streams of events before it waits for its connections."""

    def __init__(self, launch: Launch, page: Page) -> None:
        super().__init__(
            uvicorn.Config(
                make_app(launch, page),
                ws="none",
                server_header=False,
                proxy_headers=False,
                access_log=False,
                log_level="error",
                timeout_graceful_shutdown=1,
            )
        )
        self._page, self.stopped_by = page, 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal, and end."""
        self.stopped_by = sig
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self._page.workspaces.stop_fits()
        await super().shutdown(sockets)


def serve(
    *,
    model: str | None = None,
    data: str | None = None,
    network: str | None = None,
    port: int | None = None,
    browser: bool = True,
    say: Callable[[str], object] = print,
) -> None:
    """Serve the page until Ctrl-C. Without `port`, 8000 or the next one that is free is taken.

    Where a computation still runs at the end, whose client waits no longer, the process exits at once. Raises
    InvalidInput where the port cannot be used, and errors of a file that cannot be read.
    """
    with listen(port) as listener:
        launch = Launch(listener.getsockname()[1])
        page = Page(model=model, data=data, network=network)
        if model is not None:
            say(f"Reading {model}, which takes some seconds.")
            try:
                page.load_now()
            except BaseException:
                page.workspaces.close()
                raise
        server = PageServer(launch, page)
        _announce(launch, browser, say)
        try:
            server.run(sockets=[listener])
        finally:
            if page.is_computing:
                sys.stderr.flush()
                os._exit(128 + server.stopped_by)


def show(model: Diffusion, *, port: int | None, browser: bool) -> None:
    """Serve the page of a fitted model until the caller is interrupted, also inside a notebook, which has a loop."""
    with listen(port) as listener:
        launch = Launch(listener.getsockname()[1])
        page = Page(model=model)
        server = PageServer(launch, page)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        _announce(launch, browser, print)
        try:
            while thread.is_alive():
                thread.join(0.2)
        except KeyboardInterrupt:
            server.should_exit = True
            thread.join(5.0)
        finally:
            page.workspaces.close()


def _announce(launch: Launch, browser: bool, say: Callable[[str], object]) -> None:
    say(f"backwalk's page: {launch.address}")
    say("Ctrl-C ends it.")
    if browser:
        threading.Thread(target=webbrowser.open, args=[launch.address], daemon=True).start()


def parse_source(source: str | None) -> dict[str, str]:
    """Return a source as the argument `model` or `data` of `serve`. Raises InvalidInput unless it can be read."""
    if source is None:
        return {}
    is_density = source in {density["name"] for density in shipped.catalogue()["densities"]}
    if not Path(source).exists():
        if not is_density:
            raise InvalidInput(f"{source!r} is neither a file, a model nor a built-in density: check the spelling.")
        return {"data": source}
    from backwalk.model_file import is_model

    return {"model" if is_model(source) else "data": source}


def listen(port: int | None) -> socket.socket:
    """Return a socket that listens on a port of 127.0.0.1."""
    ports = range(8000, 8100) if port is None else [port]
    for number in ports:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK[0], number))
        except OSError as error:
            listener.close()
            if port is not None:
                raise InvalidInput(
                    f"port {port} cannot be used: {error.strerror}. Give another, or leave --port out."
                ) from error
            continue
        listener.listen(128)
        return listener
    raise InvalidInput("port should be free, but 8000 to 8099 are in use: give another by --port.")
