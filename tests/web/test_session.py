"""Signing in with a browser: what is open before, the cookie, and its end."""

import json
import re

import httpx
import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from tests.support.fake_gateway import FakeGateway
from tuneyard.v1 import training_service_pb2
from tuneyard.web.app import make_app
from tuneyard.web.config import WebConfig
from tuneyard.web.session import SESSION_SECONDS, Sessions

OWN = {"Origin": "http://lab.example:8000"}


@pytest.fixture
def edge(gateway: FakeGateway) -> Starlette:
    return make_app(
        WebConfig(listen="0.0.0.0:8000", server=gateway.address, token="open; sesame", hosts=("lab.example",))
    )


def browser(edge: Starlette, *, base: str = "http://lab.example:8000") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(edge, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=base)


async def test_who_tells_the_token_is_let_in_until_signing_out(edge: Starlette, gateway: FakeGateway) -> None:
    async with browser(edge) as http:
        assert (await http.get("/session")).json() == {"tokenNeeded": True, "signedIn": False}
        assert (await http.get("/v1/jobs/a")).status_code == 401
        told = await http.put("/session", json={"token": "open; sesame"}, headers=OWN)
        assert (told.status_code, told.json()) == (200, {"tokenNeeded": True, "signedIn": True})
        assert (await http.get("/session")).json()["signedIn"] is True
        assert (await http.get("/v1/jobs/a")).status_code == 200
        await http.delete("/session", headers=OWN)
        assert (await http.get("/v1/jobs/a")).status_code == 401
    assert gateway.calls["GetJob"] == 1


@pytest.mark.parametrize(
    ("base", "is_secure"), [("http://lab.example:8000", False), ("https://lab.example", True)]
)
async def test_the_cookie_is_kept_from_scripts_and_other_sites_and_holds_no_token(
    edge: Starlette, base: str, is_secure: bool
) -> None:
    async with browser(edge, base=base) as http:
        cookie = (await http.put("/session", json={"token": "open; sesame"})).headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie
    assert ("Secure" in cookie) is is_secure
    assert "sesame" not in cookie


@pytest.mark.parametrize("token", ["x", "", "\ud800", "open; sesame "])
async def test_a_wrong_token_is_said_of_its_field(edge: Starlette, token: str) -> None:
    async with browser(edge) as http:
        told = await http.put("/session", content=json.dumps({"token": token}), headers=OWN)
    assert told.status_code == 401
    assert [violation["field"] for violation in told.json()["violations"]] == ["token"]
    assert "set-cookie" not in told.headers


@pytest.mark.parametrize(
    "body", [b"", b"no JSON", b"[]", b'{"token": 1}', b"[" * 8000, b'{"token": "' + b"x" * 9000]
)
async def test_what_holds_no_token_is_refused(edge: Starlette, body: bytes) -> None:
    async with browser(edge) as http:
        assert (await http.put("/session", content=body, headers=OWN)).status_code == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_another_sites_page_signs_nobody_in_or_out(edge: Starlette, method: str) -> None:
    body = {"token": "open; sesame"}
    async with browser(edge) as http:
        foreign = await http.request(
            method, "/session", json=body, headers={"Origin": "https://evil.example"}
        )
        form = await http.request(method, "/session", json=body, headers={"Sec-Fetch-Site": "cross-site"})
    assert (foreign.status_code, form.status_code) == (403, 403)
    assert "set-cookie" not in foreign.headers


async def test_without_a_token_only_what_all_installations_have_alike_is_open(edge: Starlette) -> None:
    """Every route, by reflection: one that is added later is closed, or stands here."""
    paths = {
        route.path.replace(":path", "").replace(":str", "")
        for route in edge.routes
        if isinstance(route, Route | Mount)
    }
    answers = {}
    async with browser(edge) as http:
        for path in paths:
            sample = re.sub(r"{\w+}", "x", path) + ("/x" if path == "/api" else "")
            answers[path] = (await http.get(sample)).status_code
    opened = {path for path, status in answers.items() if status != 401}
    static = {"/assets"} & paths
    assert opened == static | {
        *("/session", "/openapi.json", "/docs", "/docs.css", "/healthz", "/{path}"),
        *("/guide", "/guide.zh", "/guide.css"),
    }


@pytest.mark.parametrize("path", ["/ws/training", "/api/ws/training"])
def test_a_socket_opens_with_the_cookie_alone(edge: Starlette, gateway: FakeGateway, path: str) -> None:
    gateway.on("WatchJobs", lambda request, context: iter([training_service_pb2.WatchJobsResponse()]))
    cookie = f"tuneyard_session_8000={Sessions('open; sesame').new_cookie()}"
    host = {"host": "lab.example:8000"}
    with TestClient(edge) as client:
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(path, headers=host):
            pass
        with client.websocket_connect(path, headers=host | {"cookie": cookie}) as socket:
            socket.send_json({"type": "ping"})
            assert socket.receive_json() == {"type": "pong"}


async def test_on_loopback_nobody_signs_in(config: WebConfig) -> None:
    async with browser(make_app(config), base="http://127.0.0.1:8000") as http:
        assert (await http.get("/session")).json() == {"tokenNeeded": False, "signedIn": False}
        assert (await http.put("/session", json={"token": ""})).status_code == 401


def headers(cookie: str, *, host: str = "lab.example:8000", name: str = "tuneyard_session_8000") -> Headers:
    return Headers({"host": host, "cookie": f"{name}={cookie}"})


def test_a_session_ends_and_belongs_to_its_token_and_port() -> None:
    time = 1_000_000.0
    sessions = Sessions("t", now=lambda: time)
    cookie = sessions.new_cookie()
    assert sessions.is_signed_in(headers(cookie))
    assert not sessions.is_signed_in(headers(cookie, host="lab.example:9000"))
    assert not Sessions("other", now=lambda: time).is_signed_in(headers(cookie))
    time += SESSION_SECONDS
    assert not sessions.is_signed_in(headers(cookie))


@pytest.mark.parametrize(
    "cookie", ["", ".", "9999999999", "9999999999.00", "1e9.x", "²", "9" * 5000, "9999999999.\xe9"]
)
def test_a_made_up_cookie_lets_nobody_in(cookie: str) -> None:
    assert not Sessions("t").is_signed_in(headers(cookie))
    assert not Sessions("").is_signed_in(headers(cookie))
