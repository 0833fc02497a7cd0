"""The routes: each one call of `operations.py`, in a worker thread.

This module loads no torch: the page, the catalogue and the answers of the shipped model are served from files at once,
while the library loads in the background.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from backwalk.errors import BackwalkError
from backwalk.web import start
from backwalk.web.refusals import OUR_MISTAKE, Refusal, refusal_of
from backwalk.web.security import Guard, Launch, policy
from backwalk.web.state import Server

STATIC = Path(str(files("backwalk.web"))) / "static"
SECONDS_BEFORE_LOADING = 2.0  # the library, unless a request needs it earlier
_REPORT_POLICY = "sandbox allow-scripts allow-downloads; frame-ancestors 'none'"  # its own policy stands in the page


def make_app(launch: Launch, server: Server, *, static: Path = STATIC) -> Guard:
    """Return the ASGI app of a launch."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        later = asyncio.get_running_loop().call_later(SECONDS_BEFORE_LOADING, server.load)
        try:
            yield
        finally:
            later.cancel()
            server.sessions.stop()

    app = Starlette(
        routes=[*_routes(server, static), Mount("/static", StaticFiles(directory=static))],
        exception_handlers={
            **dict.fromkeys((Refusal, BackwalkError, MemoryError), _refused),
            HTTPException: _http_error,
            ClientDisconnect: _left,
            Exception: _failed,
        },
        lifespan=lifespan,
    )
    return Guard(app, launch, policy(inline_hashes((static / "index.html").read_text(encoding="utf-8"))))


def inline_hashes(page: str) -> list[str]:
    """Return the sources by which a Content Security Policy allows a page's inline scripts.

    >>> inline_hashes('<script type="importmap">{}</script><script src="a.js"></script>')
    ["'sha256-RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o='"]
    """
    scripts = re.findall(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", page, flags=re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts]


def _routes(server: Server, static: Path) -> list[Route]:
    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def index(_: Request) -> Response:
        return Response((static / "index.html").read_bytes(), media_type="text/html; charset=utf-8")

    async def catalogue(_: Request) -> Response:
        return JSONResponse({**start.catalogue(), "start": start.opening(server.opened)})

    async def make_data(request: Request) -> Response:
        return _answered(await _call(server, request, "make_data", await _json(request)))

    async def upload(request: Request) -> Response:
        name, content = unquote(request.query_params.get("name", "")), await request.body()
        return _answered(await _call(server, request, "upload", name, content))

    async def describe_data(request: Request) -> Response:
        return _answered(await _call(server, request, "describe_data", request.path_params["data"]))

    async def choose_columns(request: Request) -> Response:
        body = await _json(request)
        return _answered(await _call(server, request, "choose_columns", request.path_params["data"], body))

    async def begin_fit(request: Request) -> Response:
        return _answered(await _call(server, request, "begin_fit", await _json(request)))

    async def write_code(request: Request) -> Response:
        return _answered(await _call(server, request, "code", await _json(request)))

    async def describe_fit(request: Request) -> Response:
        return JSONResponse(server.workspace(request).fits.get(request.path_params["fit"]).record())

    async def list_models(request: Request) -> Response:
        own = [{"model": each.name, "title": each.title} for each in server.workspace(request).models.items()]
        return JSONResponse([*start.models(), *server.given_models(), *own])

    async def stop_fit(request: Request) -> Response:
        server.workspace(request).fits.get(request.path_params["fit"]).stop()
        return JSONResponse({})

    async def go_on(request: Request) -> Response:
        return _answered(await _call(server, request, "go_on", request.path_params["fit"], await _json(request)))

    async def events(request: Request) -> Response:
        fit = server.workspace(request).fits.get(request.path_params["fit"])
        last = request.headers.get("last-event-id", request.query_params.get("after", "-1"))
        if not re.fullmatch(r"-?\d{1,9}", last):
            raise Refusal(400, "Last-Event-ID should be the number of an event.")
        first = max(int(last) + 1, 0)
        if not fit.is_running and first >= len(fit.events):
            return Response(status_code=204)  # an EventSource stops asking

        async def stream() -> AsyncIterator[str]:
            async for found in fit.follow(first):
                if found is None:
                    yield ": still here\n\n"
                else:
                    number, event = found
                    yield f"id: {number}\nevent: {event.kind}\ndata: {json.dumps(event.data)}\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def describe_model(request: Request) -> Response:
        model = request.path_params["model"]
        stored = start.stored("GET", model, "model", None)
        if stored is not None:
            return Response(stored, media_type="application/json")
        return _answered(await _call(server, request, "describe_model", model))

    async def of_model(request: Request) -> Response:
        model, name, body = request.path_params["model"], request.path_params["name"], await _json(request)
        if name == "rows" and "format" in request.query_params:
            return _answered(await _call(server, request, "rows_file", model, request.query_params["format"], body))
        stored = start.stored("POST", model, name, body)
        if stored is not None:
            server.load()
            return Response(stored, media_type=start.media_type(name))
        if name not in _OF_MODEL:
            raise Refusal(404, f"Models have no {name[:40]!r}.")
        return _answered(await _call(server, request, "of_model", model, name, body))

    async def rows_file(request: Request) -> Response:
        try:
            body = json.loads(request.query_params.get("request", "{}"))
        except (ValueError, RecursionError):
            raise Refusal(400, "request should be JSON.", "request") from None
        suffix = request.query_params.get("format", "csv")
        return _answered(await _call(server, request, "rows_file", request.path_params["model"], suffix, body))

    async def report(request: Request) -> Response:
        return _answered(await _call(server, request, "report", request.path_params["model"]))

    async def model_file(request: Request) -> Response:
        return _answered(await _call(server, request, "model_file", request.path_params["model"]))

    return [
        Route("/health", health),
        Route("/", index),
        Route("/api/catalogue", catalogue),
        Route("/api/data", make_data, methods=["POST"]),
        Route("/api/data/file", upload, methods=["POST"]),
        Route("/api/data/{data}", describe_data),
        Route("/api/data/{data}/columns", choose_columns, methods=["POST"]),
        Route("/api/fits", begin_fit, methods=["POST"]),
        Route("/api/fits/{fit}", describe_fit),
        Route("/api/fits/{fit}/events", events),
        Route("/api/fits/{fit}/stop", stop_fit, methods=["POST"]),
        Route("/api/fits/{fit}/go-on", go_on, methods=["POST"]),
        Route("/api/code", write_code, methods=["POST"]),
        Route("/api/models", list_models),
        Route("/api/models/{model}", describe_model),
        Route("/api/models/{model}/rows", rows_file),
        Route("/api/models/{model}/report", report),
        Route("/api/models/{model}/download", model_file),
        Route("/api/models/{model}/{name}", of_model, methods=["POST"]),
    ]


_OF_MODEL = ("chain", "particle", "field", "density", "bound", "rows", "conditional", "impute")


async def _call(server: Server, request: Request, name: str, *arguments: Any) -> Any:
    """Return the answer of one of the operations."""
    workspace = server.workspace(request)
    return await server.compute(
        lambda operations: getattr(operations, name)(workspace, *arguments), is_report=name == "report"
    )


async def _json(request: Request) -> Any:
    """Return a request's body as JSON values; an empty one is {}."""
    if request.headers.get("content-type", "application/json").split(";")[0].strip() != "application/json":
        raise Refusal(400, "The body should be JSON, application/json.")
    body = await request.body()
    try:
        return json.loads(body, parse_constant=_no_number) if body else {}
    except (ValueError, RecursionError):
        raise Refusal(400, "The body should be JSON.") from None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _answered(answer: Any) -> Response:
    """Return an operation's answer as a response."""
    if isinstance(answer, dict):
        return JSONResponse(answer)
    if hasattr(answer, "to_bytes"):
        return Response(answer.to_bytes(), media_type="application/octet-stream")
    headers = {} if answer.name is None else {"content-disposition": f'attachment; filename="{answer.name}"'}
    if answer.name is None:
        headers["content-security-policy"] = _REPORT_POLICY
    return Response(answer.content, media_type=answer.media_type, headers=headers)


async def _refused(_: Request, error: Exception) -> Response:
    refused = refusal_of(error)
    assert refused is not None
    headers = {"connection": "close"} if refused.status in (408, 413) else None
    return JSONResponse(refused.record(), status_code=refused.status, headers=headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(Refusal(error.status_code, error.detail).record(), status_code=error.status_code)


async def _left(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _failed(_: Request, __: Exception) -> Response:
    """Answer a mistake of ours; Starlette raises it again for the log."""
    return JSONResponse(Refusal(500, OUR_MISTAKE).record(), status_code=500)
