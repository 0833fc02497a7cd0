"""The routes, each one call; and what they share.

This module imports no torch: the page and its first picture are served from files (`shipped.py`). Other answers come
from `answers.py`, which loads the library with the first request that needs it, or in the background.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from backwalk.errors import BackwalkError
from backwalk.web import shipped
from backwalk.web.security import LOOPBACK, UPLOAD_PATH, Guard, Launch, Refusal
from backwalk.web.shipped import STATIC
from backwalk.web.workspaces import Workspace, Workspaces

if TYPE_CHECKING:
    from backwalk.estimator import Diffusion
    from backwalk.web.answers import Answers

SECONDS_BEFORE_LOADING = 2.0  # the library, unless a request needs it earlier
_LOG = logging.getLogger(__name__)


class Turns:
    """A line in which requests wait: `n_at_once` are served at a time, and more than `n_waiting` others refused."""

    def __init__(self, n_at_once: int, n_waiting: int) -> None:
        self._semaphore, self._n, self._most = asyncio.Semaphore(n_at_once), 0, n_at_once + n_waiting

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn. Raises Refusal where too many wait already."""
        if self._n >= self._most:
            raise Refusal(429, "Too many requests are waiting: try again in a moment.")
        self._n += 1
        try:
            async with self._semaphore:
                yield
        finally:
            self._n -= 1


class Page:
    """What the routes share.

    `model` is a file's path or a fitted estimator, and `data` a file's path or a built-in density, that the page opens
    with. `network` names the code of a user's network (`answers.network_of`).
    """

    def __init__(
        self, *, model: str | Diffusion | None = None, data: str | None = None, network: str | None = None
    ) -> None:
        self.model, self.data, self.network = model, data, network
        self.workspaces = Workspaces()
        self.computations, self.reports, self.uploads = Turns(2, 64), Turns(1, 8), Turns(1, 8)
        self._threads, self._loading = set[threading.Thread](), threading.Lock()
        self._answers: Answers | None = None

    @property
    def own_solvers(self) -> list[str]:
        """The solvers that the user of a page opened from Python has registered."""
        if self.model is None or isinstance(self.model, str):
            return []
        from backwalk.sampling import SOLVERS

        return [name for name, solver in SOLVERS.items() if not solver.__module__.startswith("backwalk.")]

    @property
    def is_computing(self) -> bool:
        """Whether a thread computes or loads the library."""
        return bool(self._threads)

    def workspace(self, request: Request) -> Workspace:
        """Return the workspace of the tab that a request comes from."""
        return self.workspaces.get(request.headers.get("x-backwalk-workspace") or request.query_params.get("workspace"))

    async def compute(self, request: Request, turns: Turns, work: Callable[[Answers], Response]) -> Response:
        """Return the answer of `work`, called in a thread, unless the client has left meanwhile."""
        async with turns.turn():
            if await request.is_disconnected():
                raise ClientDisconnect
            return await to_thread.run_sync(lambda: self._run(work), abandon_on_cancel=True)

    def load(self) -> None:
        """Load the library in the background. A failure is met and answered by the next request."""

        def load() -> None:
            try:
                self._run(lambda _: None)
            except Exception:
                _LOG.debug("loading failed:\n%s", traceback.format_exc())

        threading.Thread(target=load, name="backwalk loads", daemon=True).start()

    def load_now(self) -> None:
        """Load the library and what the page opens with. Raises errors of a file that cannot be read."""
        self._run(lambda _: None)

    def _run(self, work: Callable[[Answers], Any]) -> Any:
        self._threads.add(threading.current_thread())
        try:
            with self._loading:
                if self._answers is None:
                    from backwalk.web.answers import Answers

                    self._answers = Answers(self.workspaces, model=self.model, data=self.data, network=self.network)
                answers = self._answers
            return work(answers)
        finally:
            self._threads.discard(threading.current_thread())


def make_app(launch: Launch, page: Page) -> Starlette:
    """Return the ASGI app of a launch."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        loading = asyncio.get_running_loop().call_later(SECONDS_BEFORE_LOADING, page.load)
        try:
            yield
        finally:
            loading.cancel()
            page.workspaces.close()

    return Starlette(
        routes=[*_light_routes(page), *_computed_routes(page), Mount("/static", StaticFiles(directory=STATIC))],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK, www_redirect=False),
            Middleware(Guard, launch=launch),
        ],
        exception_handlers={
            **dict.fromkeys((Refusal, BackwalkError, MemoryError, Exception), _refuse),
            HTTPException: _refuse_http,
            ClientDisconnect: _answer_nobody,
        },
        lifespan=lifespan,
    )


def _light_routes(page: Page) -> list[Route]:
    """Return the routes whose answers need no library."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def index(_: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def catalogue(_: Request) -> Response:
        return JSONResponse(
            shipped.catalogue(
                has_model=page.model is not None, has_data=page.data is not None, own_solvers=page.own_solvers
            )
        )

    async def models(request: Request) -> Response:
        listed = [(name, model.title) for name, model in shipped.MODELS.items()]
        listed += [(shipped.GIVEN, shipped.title_of(page.model))] if page.model is not None else []
        listed += [(model.name, model.title) for model in page.workspace(request).models.items()]
        return JSONResponse([{"model": name, "title": title} for name, title in listed])

    async def first_model(_: Request) -> Response:
        return Response(shipped.stored("model.json"), media_type="application/json")

    async def describe_fit(request: Request) -> Response:
        return JSONResponse(page.workspace(request).fits.get(request.path_params["fit"]).record())

    async def stop_fit(request: Request) -> Response:
        page.workspace(request).fits.get(request.path_params["fit"]).stop()
        return JSONResponse({})

    async def events(request: Request) -> Response:
        fit = page.workspace(request).fits.get(request.path_params["fit"])
        last = request.headers.get("last-event-id", "-1")
        if not re.fullmatch(r"-?\d{1,9}", last):
            raise Refusal(400, "Last-Event-ID should be the number of an event.")
        first = max(int(last) + 1, 0)
        if not fit.is_running and first >= len(fit.events):
            return Response(status_code=204)  # an EventSource stops asking
        texts = (
            f"id: {number}\nevent: {event.kind}\ndata: {json.dumps(event.data)}\n\n"
            async for number, event in fit.follow(first)
        )
        return StreamingResponse(texts, media_type="text/event-stream")

    return [
        Route("/health", health),
        Route("/", index),
        Route("/api/catalogue", catalogue),
        Route("/api/models", models),
        Route(f"/api/models/{shipped.START}", first_model),
        Route("/api/fits/{fit}", describe_fit),
        Route("/api/fits/{fit}/stop", stop_fit, methods=["POST"]),
        Route("/api/fits/{fit}/events", events),
    ]


def _computed_routes(page: Page) -> list[Route]:
    """Return the routes whose answers are methods of `Answers`, called with the names in the path."""

    def get(path: str, name: str, turns: Turns = page.computations) -> Route:
        async def endpoint(request: Request) -> Response:
            tab, names = page.workspace(request), request.path_params
            return await page.compute(request, turns, lambda answers: getattr(answers, name)(tab, **names))

        return Route(path, endpoint)

    def post(path: str, name: str) -> Route:
        async def endpoint(request: Request) -> Response:
            tab, names, body = page.workspace(request), request.path_params, await _read_json(request)
            return await page.compute(
                request, page.computations, lambda answers: getattr(answers, name)(tab, body, **names)
            )

        return Route(path, endpoint, methods=["POST"])

    async def upload(request: Request) -> Response:
        tab, name = page.workspace(request), unquote(request.query_params.get("name", ""))
        async with page.uploads.turn():  # bodies are read one at a time
            content = await request.body()
            return await page.compute(request, page.computations, lambda answers: answers.upload(tab, content, name))

    async def chain(request: Request) -> Response:
        tab, model, body = page.workspace(request), request.path_params["model"], await _read_json(request)
        if model == shipped.START and body == shipped.FIRST_CHAIN:
            page.load()
            return Response(shipped.stored("chain.bin"), media_type="application/octet-stream")
        return await page.compute(
            request, page.computations, lambda answers: answers.of_model(tab, body, model, "chain")
        )

    return [
        post("/api/data", "make_data"),
        Route(UPLOAD_PATH, upload, methods=["POST"]),
        get("/api/data/{data}", "describe_data"),
        post("/api/data/{data}/columns", "choose_columns"),
        post("/api/fits", "begin_fit"),
        post("/api/fits/{fit}/go-on", "go_on"),
        post("/api/code", "write_code"),
        get("/api/models/{model}", "describe_model"),
        get("/api/models/{model}/report", "report", page.reports),
        get("/api/models/{model}/report-progress", "report_progress"),
        get("/api/models/{model}/download", "model_file"),
        get("/api/models/{model}/page", "page_file"),
        Route("/api/models/{model}/chain", chain, methods=["POST"]),
        post("/api/models/{model}/rows.{suffix}", "rows_file"),
        post("/api/models/{model}/{name}", "of_model"),
    ]


async def _read_json(request: Request) -> Any:
    """Return a request's body as JSON values; an empty one is {}."""
    if request.headers.get("content-type", "application/json").split(";")[0].strip() != "application/json":
        raise Refusal(400, "The body should be JSON, application/json.")
    body = await request.body()
    try:
        return json.loads(body, parse_constant=_refuse_constant) if body else {}
    except (ValueError, RecursionError):
        raise Refusal(400, "The body should be JSON.") from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


async def _refuse(_: Request, error: Exception) -> Response:
    """Answer an error. Mistakes of ours Starlette raises again, for the log."""
    return Refusal.of(error).response()


async def _refuse_http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Refusal(error.status_code, error.detail).response()


async def _answer_nobody(_: Request, __: Exception) -> Response:
    return Response(status_code=400)
