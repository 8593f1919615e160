"""A browser's session: the token is told once, and a cookie that no script can read stands for it then.

The cookie holds not the token but its own end, signed with it. Nothing is kept here; another token ends all
sessions.
"""

import hmac
import json
import time
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import JSONResponse, Response

from tuneyard.web import problems
from tuneyard.web.attempts import Attempts, Verdict

SESSION_SECONDS: Final = 30 * 24 * 3600
PATH: Final = "/session"
_LARGEST_BODY_BYTES: Final = 8192

Clock = Callable[[], float]


class Sessions:
    """Whether a token is the server's, and the cookies of those who have told it."""

    def __init__(self, token: str, *, now: Clock = time.time) -> None:
        self._token = token.encode()
        self._now = now

    def is_token(self, given: str) -> bool:
        """Whether this is the server's token. How long it takes does not tell how much of it is right."""
        return bool(self._token) and hmac.compare_digest(given.encode(errors="surrogatepass"), self._token)

    def is_signed_in(self, headers: Headers) -> bool:
        """Whether a request brings the cookie of a session that has not ended."""
        value = cookie_parser(headers.get("cookie", "")).get(cookie_name(headers), "")
        end, _, _ = value.partition(".")
        if not self._token or not (end.isascii() and end.isdecimal()) or len(end) > 12:
            return False
        return hmac.compare_digest(value.encode(), self._cookie(int(end)).encode()) and int(end) > self._now()

    def new_cookie(self) -> str:
        """A new session's cookie."""
        return self._cookie(int(self._now()) + SESSION_SECONDS)

    def _cookie(self, end: int) -> str:
        return f"{end}.{hmac.digest(self._token, f'tuneyard session until {end}'.encode(), 'sha256').hex()}"


class SessionEndpoints:
    """GET, PUT and DELETE of /session: how it stands, signing in, signing out."""

    def __init__(self, sessions: Sessions, attempts: Attempts, *, is_needed: bool) -> None:
        self._sessions = sessions
        self._attempts = attempts
        self._is_needed = is_needed

    async def get(self, request: Request) -> Response:
        """Whether this server asks for a token, and whether this browser has told it."""
        return _told(
            {"tokenNeeded": self._is_needed, "signedIn": self._sessions.is_signed_in(request.headers)}
        )

    async def put(self, request: Request) -> Response:
        """Signs in with `{"token": "…"}`."""
        token = await _token_of(request)
        if token is None:
            return _refused(400, 'Send {"token": "…"}.')
        verdict = self._attempts.judge(request.scope, token, is_right=self._sessions.is_token(token))
        if verdict is Verdict.TOO_MANY:
            seconds = self._attempts.retry_after_seconds(request.scope)
            return problems.refusal(problems.too_many_tokens(seconds))
        if verdict is Verdict.WRONG:
            return _refused(401, "This is not the server's token.")
        response = _told({"tokenNeeded": self._is_needed, "signedIn": True})
        self._set_cookie(request, response, self._sessions.new_cookie(), SESSION_SECONDS)
        return response

    async def delete(self, request: Request) -> Response:
        """Signs this browser out."""
        response = _told({"tokenNeeded": self._is_needed, "signedIn": False})
        self._set_cookie(request, response, "", 0)
        return response

    def _set_cookie(self, request: Request, response: Response, value: str, seconds: int) -> None:
        response.set_cookie(
            cookie_name(request.headers),
            value,
            max_age=seconds,
            path="/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )


def cookie_name(headers: Headers) -> str:
    """The name of the cookie: a browser sends the cookies of all ports of a host to each of them."""
    _, colon, port = headers.get("host", "").rpartition(":")
    return f"tuneyard_session_{port}" if colon and port.isascii() and port.isdecimal() else "tuneyard_session"


async def _token_of(request: Request) -> str | None:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY_BYTES:
            return None
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    token = told.get("token") if isinstance(told, dict) else None
    return token if isinstance(token, str) else None


def _told(session: dict[str, bool]) -> Response:
    return JSONResponse(session, headers={"Cache-Control": "no-store"})


def _refused(status: int, detail: str) -> Response:
    reason = "UNAUTHENTICATED" if status == 401 else "INVALID_FIELD"
    violations = [{"field": "token", "description": detail}]
    return problems.refusal(problems.plain(status, detail, reason=reason, violations=violations))
