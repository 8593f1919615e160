"""What every HTTP request passes: the caller's right to ask, and headers that keep pages to themselves."""

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuneyard.client.addresses import is_address
from tuneyard.web import problems, session
from tuneyard.web.attempts import Attempts, Verdict
from tuneyard.web.config import WebConfig
from tuneyard.web.session import Sessions

TOKEN_COOKIE: Final = "tuneyard_token"
_LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
    " font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_CLOSED: Final = frozenset({"v1", "api", "ws"})
"""First parts of the paths below which somebody's jobs and data are."""
_CORS_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
_CORS_HEADERS: Final = (
    "authorization, content-type, idempotency-key, last-event-id, prefer, content-range, range"
)


class Guard:
    """Refuses other hosts' names (DNS rebinding), other origins (forged requests), and lacking tokens."""

    def __init__(self, app: ASGIApp, config: WebConfig, sessions: Sessions, attempts: Attempts) -> None:
        self._app = app
        self._config = config
        self._sessions = sessions
        self._attempts = attempts
        own = config.listen.rpartition(":")[0].lower()
        self._hosts = frozenset((*config.hosts, own, *(_LOOPBACK_NAMES if config.is_loopback else ())))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "")
        foreign = bool(origin) and self._is_listed(origin)
        refusal = self._refusal(scope, headers, origin)
        if refusal is not None:
            await _refuse(scope, receive, send, refusal)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    told.setdefault(name, value)
                if foreign:
                    told["Access-Control-Allow-Origin"] = origin
                    told["Cross-Origin-Resource-Policy"] = "cross-origin"
                    told.append("Vary", "Origin")
            await send(message)

        if foreign and scope["type"] == "http" and scope["method"] == "OPTIONS":
            await _preflight(send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers, origin: str) -> dict[str, Any] | None:
        host = headers.get("host", "")
        name = _name(host)
        if not self._answers_to(name):
            return _refused(421, f"This server is not called {name!r}: list the name in TUNEYARD_WEB_HOSTS.")
        if origin and not self._is_listed(origin) and urlsplit(origin.lower()).netloc != host.lower():
            return _refused(
                403, f"Pages of {origin} may not call this server: list the origin in TUNEYARD_WEB_ORIGINS."
            )
        if (
            not origin
            and headers.get("sec-fetch-site", "") == "cross-site"
            and scope.get("method")
            not in (
                "GET",
                "HEAD",
                None,
            )
        ):
            return _refused(403, "Another site's page may not change anything here.")
        if self._config.is_loopback or scope.get("method") == "OPTIONS" or _is_open(scope):
            return None
        return self._unknown(scope, headers)

    def _unknown(self, scope: Scope, headers: Headers) -> dict[str, Any] | None:
        """What a caller is told who is not to be let in."""
        if self._sessions.is_signed_in(headers):
            return None
        if tokens := list(_tokens(headers)):
            is_right = any(map(self._sessions.is_token, tokens))
            verdict = self._attempts.judge(scope, "\n".join(tokens), is_right=is_right)
            if verdict is Verdict.RIGHT:
                return None
            if verdict is Verdict.TOO_MANY:
                return problems.too_many_tokens(self._attempts.retry_after_seconds(scope))
        return _refused(401, "Bring the token: Authorization: Bearer …")

    def _answers_to(self, name: str) -> bool:
        # Only a name can be made to lead here by somebody else.
        return name in self._hosts or (not self._config.is_loopback and is_address(name.strip("[]")))

    def _is_listed(self, origin: str) -> bool:
        return origin.lower().rstrip("/") in self._config.origins


async def _refuse(scope: Scope, receive: Receive, send: Send, problem: dict[str, Any]) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": problem["detail"][:120]})
        return
    await problems.refusal(problem)(scope, receive, send)


def _refused(status: int, detail: str) -> dict[str, Any]:
    reason = {401: "UNAUTHENTICATED"}.get(status, "PERMISSION_DENIED")
    return problems.plain(status, detail, reason=reason)


def _is_open(scope: Scope) -> bool:
    """Whether no token is needed: for what every installation has alike (the web UI's files, the guide, the
    API's description), and for telling the token.
    """
    path = scope["path"]
    if path == session.PATH:
        return True
    root = path.removeprefix("/").partition("/")[0]
    return scope.get("method") in ("GET", "HEAD") and root not in _CLOSED


def _name(host: str) -> str:
    """A Host header's name without its port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdecimal() else host.lower()


def _tokens(headers: Headers) -> Iterable[str]:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield token.strip()
    # As browsers do: of cookies that other servers of this host have set, none hides the next one.
    cookie = cookie_parser(headers.get("cookie", "")).get(TOKEN_COOKIE)
    if cookie is not None:
        yield cookie


async def _preflight(send: Send) -> None:
    headers = [
        (b"access-control-allow-methods", _CORS_METHODS.encode()),
        (b"access-control-allow-headers", _CORS_HEADERS.encode()),
        (b"access-control-max-age", b"600"),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
