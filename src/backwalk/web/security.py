"""Which requests are answered: those of this launch's own page, within limits of size and time.

- **Host** must name this server by a loopback name and its own port, so that a foreign name that resolves to 127.0.0.1
  (DNS rebinding) gets nothing.
- **Origin**, where a browser sends one, must be the server's own, and a request that changes something must have one.
- **Token**: each launch has a random token in the printed address. `GET /?token=...` sets a cookie, HttpOnly and
  SameSite=Strict, without which only /health answers.
- **Bodies** are counted as they arrive, whatever their Content-Length says, and a sender that pauses is not waited for.
- **Headers** of every answer: a Content Security Policy that allows the page's own files alone, no sniffing, no
  framing, no referrer.

Pure ASGI: streams pass through, and nothing is kept in memory.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode

from backwalk.web.refusals import Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost")
JSON_BYTES = 2**20  # of a request's body, but for uploads
UPLOAD_BYTES = 2**26
LONGEST_PAUSE, LONGEST_BODY = 10.0, 60.0  # seconds without a byte of a body, and until it is whole
_UPLOAD = "/api/data/file"
_OPEN_PATHS = ("/health",)
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


def policy(hashes: Iterable[str] = ()) -> str:
    """Return the Content Security Policy of the page; `hashes` are those of its inline scripts."""
    return "; ".join(
        [
            "default-src 'none'",
            " ".join(["script-src 'self'", *hashes]),
            "style-src 'self'",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


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
    def hosts(self) -> tuple[str, ...]:
        """The values of Host that are answered."""
        return tuple(f"{name}:{self.port}" for name in LOOPBACK)

    @property
    def address(self) -> str:
        """The address that opens the page."""
        return f"http://{LOOPBACK[0]}:{self.port}/?{urlencode({'token': self.token})}"


class Guard:
    """The middleware around the whole app."""

    def __init__(self, app: App, launch: Launch, content_policy: str) -> None:
        self._app, self._launch, self._policy = app, launch, content_policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, refuse it, or hand it to the app."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no WebSockets
            await send({"type": "websocket.close", "code": 1008})
            return
        began = False

        async def guarded_send(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                there = {name.lower() for name, _ in message["headers"]}
                extra = {**_HEADERS, "content-security-policy": self._policy, "cache-control": "no-store"}
                new = [(n.encode(), v.encode()) for n, v in extra.items() if n.encode() not in there]
                message = {**message, "headers": [*message["headers"], *new]}
            await send(message)

        try:
            headers = _Headers(scope["headers"])
            self._check_source(scope, headers)
            if scope["path"] in _OPEN_PATHS:
                await self._app(scope, receive, guarded_send)
                return
            if await self._let_in(scope, guarded_send):
                return
            self._check_cookie(headers)
            await self._app(scope, self._limited(scope, headers, receive), guarded_send)
        except Refusal as refused:
            if not began:
                await answer_refusal(refused, guarded_send)

    def _check_source(self, scope: Scope, headers: _Headers) -> None:
        if not scope["path"].isprintable():
            raise Refusal(404, "There is nothing here.")
        hosts = headers.all("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._launch.hosts:
            raise Refusal(403, "This server answers to its own address alone: open the address that it printed.")
        origins = headers.all("origin")
        own = f"http://{hosts[0].lower()}"
        changes = scope["method"] not in ("GET", "HEAD")
        foreign = any(origin.lower() != own for origin in origins) or len(origins) > 1
        if foreign or (changes and not origins):
            raise Refusal(403, "Requests should come from the server's own page.")
        sites = headers.all("sec-fetch-site")
        if any(site not in ("same-origin", "none") for site in sites) and scope["path"] != "/":
            raise Refusal(403, "Requests should come from the server's own page.")

    async def _let_in(self, scope: Scope, send: Send) -> bool:
        """Answer an address with a token: set the cookie, and lead to the address without it."""
        if scope["path"] != "/" or scope["method"] != "GET" or not scope["query_string"]:
            return False
        tokens = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if tokens is None:
            return False
        if len(tokens) != 1 or not secrets.compare_digest(tokens[0].encode(), self._launch.token.encode()):
            raise Refusal(403, "The token is not that of this launch: open the address that the server printed.")
        cookie = f"{self._launch.cookie_name}={self._launch.cookie}; Path=/; HttpOnly; SameSite=Strict"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 302, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        return True

    def _check_cookie(self, headers: _Headers) -> None:
        for text in headers.all("cookie"):
            try:
                found = SimpleCookie(text).get(self._launch.cookie_name)
            except CookieError:
                continue
            if found is not None and secrets.compare_digest(found.value.encode(), self._launch.cookie.encode()):
                return
        raise Refusal(403, "The page needs this launch's token: open the address that the server printed.")

    def _limited(self, scope: Scope, headers: _Headers, receive: Receive) -> Receive:
        """Return `receive` for a body of limited size, whose sender does not pause for long.

        Up to twice the size is read and dropped, because a browser that is still sending would not see the refusal.
        """
        most = UPLOAD_BYTES if scope["path"] == _UPLOAD else JSON_BYTES
        too_large = Refusal(413, f"A request should have at most {most:,} bytes: give a smaller file.")
        for length in headers.all("content-length"):
            if not length.isascii() or not length.isdigit():
                raise Refusal(400, "Content-Length should be a number.")
            if len(length) > 18 or int(length) > 2 * most:
                raise too_large
        n_received, is_whole, until = 0, False, asyncio.get_running_loop().time() + LONGEST_BODY

        async def limited() -> Message:
            nonlocal n_received, is_whole
            if is_whole:
                return await receive()  # waits for the end of the connection
            while True:
                try:
                    left = until - asyncio.get_running_loop().time()
                    message = await asyncio.wait_for(receive(), min(LONGEST_PAUSE, left))
                except TimeoutError:
                    raise Refusal(408, "The body of the request came too slowly: send it at once.") from None
                if message["type"] != "http.request":
                    return message
                n_received += len(message.get("body", b""))
                is_whole = not message.get("more_body", False)
                if n_received <= most:
                    return message
                if is_whole or n_received > 2 * most:
                    raise too_large

        return limited


class _Headers:
    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]

    def all(self, name: str) -> list[str]:
        return [value for own, value in self._raw if own == name]


async def answer_refusal(refused: Refusal, send: Send) -> None:
    """Send a refusal as JSON, and end the connection, whose body may not have been read."""
    body = json.dumps(refused.record()).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
