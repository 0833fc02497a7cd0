"""The server of a launch: a port of 127.0.0.1, the printed address, and the browser."""

from __future__ import annotations

import asyncio
import socket
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from backwalk.errors import InvalidInput
from backwalk.model_file import is_model
from backwalk.web import start
from backwalk.web.app import make_app
from backwalk.web.security import LOOPBACK, Launch
from backwalk.web.state import Server

LONGEST_HEADERS = 10.0  # seconds until the headers of a request are complete
MOST_CONNECTIONS = 256
_TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PatientProtocol(H11Protocol):
    """HTTP/1.1 whose connections end where headers take long, and where there are too many of them.

    Of too many, the one that has waited longest for a request ends, so that new ones are served.
    """

    _patience: asyncio.TimerHandle | None = None  # while the connection waits for a request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for headers."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > MOST_CONNECTIONS:
            others = [each for each in self.connections if isinstance(each, PatientProtocol) and each._patience]
            min(others, key=lambda each: each._patience.when())._end()  # type: ignore[union-attr]

    def data_received(self, data: bytes) -> None:
        """Take bytes; once a request has begun, its body has limits of its own (`security.py`)."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._stop_waiting()
        self._patience = self.loop.call_later(LONGEST_HEADERS, self._lose_patience)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        self.transport.write(_TIMED_OUT)
        self._end()

    def _end(self) -> None:
        self._stop_waiting()
        self.transport.close()


class PageServer(uvicorn.Server):
    """uvicorn's server, which ends fits and their streams of events before it waits for its connections."""

    def __init__(self, config: uvicorn.Config, state: Server) -> None:
        super().__init__(config)
        self._state = state

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self._state.sessions.end_streams()
        await super().shutdown(sockets)


def serve(
    *,
    model: str | None = None,
    data: str | None = None,
    port: int | None = None,
    browser: bool = True,
    say: Callable[[str], object] = print,
) -> None:
    """Serve the page until Ctrl-C. Without `port`, 8000 or the next one that is free is taken.

    Raises InvalidInput where the port cannot be used.
    """
    with bound_socket(port) as listener:
        launch = Launch(listener.getsockname()[1])
        state = Server(model=model, data=data)
        server = PageServer(configured(launch, state), state)
        say(f"backwalk's page: {launch.address}")
        say("Ctrl-C ends it.")
        if browser:
            threading.Thread(target=webbrowser.open, args=[launch.address], daemon=True).start()
        server.run(sockets=[listener])


def sources(source: str | None) -> dict[str, str]:
    """Return a source as the argument `model` or `data` of `serve`. Raises InvalidInput unless it can be read."""
    if source is None:
        return {}
    path, is_density = Path(source), source in {density["name"] for density in start.catalogue()["densities"]}
    if not (is_density or path.exists()):
        raise InvalidInput(f"{source!r} is neither a file, a model nor a built-in density: check the spelling.")
    return {"model" if is_model(path) else "data": source}


def configured(launch: Launch, server: Server, **options: Any) -> uvicorn.Config:
    """Return uvicorn's configuration."""
    return uvicorn.Config(
        cast("Any", make_app(launch, server)),
        http=PatientProtocol,
        ws="none",
        loop="asyncio",
        server_header=False,
        proxy_headers=False,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=2**15,
        **options,
    )


def bound_socket(port: int | None) -> socket.socket:
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
