"""Which requests are answered: those of this launch's own page, with bodies of limited size.

- **Host**: Starlette's TrustedHostMiddleware answers loopback names alone, so that a foreign name that resolves to
  127.0.0.1 (DNS rebinding) gets nothing.
- **Origin and Sec-Fetch-Site**, where a browser sends them, must be the page's own. A request that changes something
  must have an Origin.
- **Token**: each launch has a random token in the printed address. `GET /?token=...` sets a cookie, HttpOnly and
  SameSite=Strict, without which only /health answers.
- **Bodies** are counted as they arrive, whatever their Content-Length says.
- **Headers** of every answer: a Content Security Policy that allows the page's own files alone, no sniffing, no
  framing, no referrer.

Programs of the same user are not kept out: they can read the browser's cookies.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backwalk.errors import BackwalkError

LOOPBACK = ("127.0.0.1", "localhost")
JSON_BYTES = 2**20  # of a request's body, except for uploads
UPLOAD_BYTES = 2**26
UPLOAD_PATH = "/api/data/file"
_HEADERS = {
    "content-security-policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    ),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_FOREIGN = "Requests should come from the server's own page: open the address that the server printed."
_NO_TOKEN = "The page needs this launch's token: open the address that the server printed."
_CLOSED = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>backwalk: open the printed address</title></head><body>
<h1>This page needs the address that its server printed</h1>
<p>Either <code>backwalk web</code> was started again, and has a new address, or a link led here.</p>
<ol><li>Open the newest address that <code>backwalk web</code> printed, which has a <code>?token=</code>.</li>
<li>If you followed a link, paste the part of the link from <code>#</code> on after that address: it holds the state of
the page. Only the page's owner can open it, on the machine that it runs on.</li></ol>
<p><a href="/">Try again</a></p></body></html>
"""
_NOT_FOUND = "There is no such page: open the address that the server printed."

OUR_MISTAKE = "The server made a mistake; its log has the details."


class Refusal(Exception):
    """A request that cannot be answered: a status, a sentence, and the field that is wrong."""

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.field = status, message, field

    @classmethod
    def of(cls, error: Exception) -> Refusal:
        """Return the refusal that an exception stands for."""
        if isinstance(error, Refusal):
            return error
        if isinstance(error, BackwalkError):
            return cls(400, str(error))
        if isinstance(error, MemoryError):
            return cls(413, "This takes more memory than there is: ask for fewer rows.")
        return cls(500, OUR_MISTAKE)

    def response(self) -> JSONResponse:
        """Return the answer. The connection ends where a body may have been left unread."""
        headers = {"connection": "close"} if self.status in (403, 413, 429) else None
        return JSONResponse({"error": {"message": self.message, "field": self.field}}, self.status, headers)


@dataclass(frozen=True)
class Launch:
    """The secrets of one launch: `token` is in the address that is printed, `cookie` in the browser."""

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def cookie_name(self) -> str:
        """The cookie's name, with the port, as browsers send cookies to all ports of a host."""
        return f"backwalk-{self.port}"

    @property
    def origins(self) -> tuple[str, ...]:
        """The page's own origins."""
        return tuple(f"http://{name}:{self.port}" for name in LOOPBACK)

    @property
    def address(self) -> str:
        """The address that opens the page."""
        return f"{self.origins[0]}/?{urlencode({'token': self.token})}"


class Guard:
    """ASGI middleware that answers the token, refuses foreign requests, limits bodies and adds headers to answers."""

    def __init__(self, app: ASGIApp, launch: Launch) -> None:
        self._app, self._launch = app, launch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, refuse it, or hand it to the app."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun, request, path = False, Request(scope), scope["path"]

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check_source(request)
            most_bytes = UPLOAD_BYTES if path == UPLOAD_PATH else JSON_BYTES
            _check_length(request.headers, most_bytes)
            if path == "/" and "token" in request.query_params:
                await self._let_in(request)(scope, receive, send_with_headers)
                return
            if path != "/health":
                self._check_cookie(request.headers)
            if "\0" in path:  # older versions of Starlette ask the file system for it
                raise Refusal(404, _NOT_FOUND)
            await self._app(scope, _limit_body(receive, most_bytes), send_with_headers)
        except Refusal as refused:
            is_page = path == "/" and refused.message == _NO_TOKEN
            answer: Response = HTMLResponse(_CLOSED, 403) if is_page else refused.response()
            await answer(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # the server ends, and no longer waits for this answer
            if not has_begun:
                await Refusal(503, "The server is ending.").response()(scope, receive, send_with_headers)

    def _check_source(self, request: Request) -> None:
        origins = request.headers.getlist("origin")
        is_change = request.method not in ("GET", "HEAD")
        if (is_change and not origins) or not set(origins) <= set(self._launch.origins):
            raise Refusal(403, _FOREIGN)
        sites = set(request.headers.getlist("sec-fetch-site"))
        if not sites <= {"same-origin", "none"} and request.scope["path"] != "/":  # links may lead to "/"
            raise Refusal(403, _FOREIGN)

    def _let_in(self, request: Request) -> RedirectResponse:
        """Set the cookie, and lead to the address without the token."""
        (token, *others) = request.query_params.getlist("token")
        if others or not secrets.compare_digest(token.encode(), self._launch.token.encode()):
            raise Refusal(403, _NO_TOKEN)
        response = RedirectResponse("/", status_code=302)
        response.set_cookie(self._launch.cookie_name, self._launch.cookie, httponly=True, samesite="strict")
        return response

    def _check_cookie(self, headers: Headers) -> None:
        """Raise Refusal without this launch's cookie; cookies that other local programs have set are not read."""
        for part in ";".join(headers.getlist("cookie")).split(";"):
            name, _, value = part.strip().partition("=")
            if name == self._launch.cookie_name and secrets.compare_digest(
                value.encode(), self._launch.cookie.encode()
            ):
                return
        raise Refusal(403, _NO_TOKEN)


def _check_length(headers: Headers, most_bytes: int) -> None:
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most_bytes:
        raise _too_large(most_bytes)


def _limit_body(receive: Receive, most_bytes: int) -> Receive:
    """Return `receive` for a body of limited size."""
    n_bytes = 0

    async def limited_receive() -> Message:
        nonlocal n_bytes
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > most_bytes:
            raise _too_large(most_bytes)
        return message

    return limited_receive


def _too_large(most_bytes: int) -> Refusal:
    return Refusal(413, f"A request should have at most {most_bytes:,} bytes: give a smaller file.")
