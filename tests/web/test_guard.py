import httpx
import pytest

from tests.support.fake_gateway import FakeGateway
from tuneyard.web.app import make_app
from tuneyard.web.config import ConfigError, WebConfig, load_config


def client(config: WebConfig, *, host: str = "127.0.0.1:8000") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(make_app(config), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


async def test_another_hosts_name_is_refused(config: WebConfig) -> None:
    async with client(config, host="evil.example") as http:
        assert (await http.get("/healthz")).status_code == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:9999", "null"])
async def test_another_origins_page_may_not_call(
    config: WebConfig, gateway: FakeGateway, origin: str
) -> None:
    async with client(config) as http:
        answer = await http.post("/v1/jobs/a:cancel", json={}, headers={"Origin": origin})
    assert (answer.status_code, gateway.calls["CancelJob"]) == (403, 0)


async def test_own_pages_and_programs_may_call(config: WebConfig) -> None:
    async with client(config) as http:
        own = await http.post("/v1/jobs/a:cancel", json={}, headers={"Origin": "http://127.0.0.1:8000"})
        program = await http.post("/v1/jobs/a:cancel", json={})
    assert (own.status_code, program.status_code) == (200, 200)


async def test_a_listed_origin_may_call_and_is_told_so(gateway: FakeGateway) -> None:
    config = WebConfig(server=gateway.address, origins=("https://lab.example",))
    headers = {"Origin": "https://lab.example"}
    async with client(config) as http:
        before = await http.options("/v1/jobs/a:cancel", headers=headers)
        answer = await http.post("/v1/jobs/a:cancel", json={}, headers=headers)
    assert (before.status_code, answer.status_code) == (204, 200)
    assert answer.headers["access-control-allow-origin"] == "https://lab.example"


async def test_a_cross_site_form_is_refused_without_an_origin(config: WebConfig) -> None:
    async with client(config) as http:
        answer = await http.post("/v1/jobs/a:cancel", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


async def test_beyond_loopback_callers_bring_the_token(gateway: FakeGateway) -> None:
    config = WebConfig(listen="0.0.0.0:8000", server=gateway.address, token="t", hosts=("lab.example",))
    async with client(config, host="lab.example:8000") as http:
        assert (await http.get("/v1/jobs/a")).status_code == 401
        assert (await http.get("/v1/jobs/a", headers={"Authorization": "Bearer x"})).status_code == 401
        assert (await http.get("/v1/jobs/a", headers={"Authorization": "Bearer t"})).status_code == 200
    assert gateway.metadata["GetJob"]["authorization"] == "Bearer t"


@pytest.mark.parametrize(
    ("host", "status"),
    [("192.0.2.7:8000", 200), ("[2001:db8::7]:8000", 200), ("192.0.2.7.evil.example:8000", 421)],
)
async def test_beyond_loopback_it_answers_to_any_address_but_to_no_unknown_name(
    gateway: FakeGateway, host: str, status: int
) -> None:
    config = WebConfig(listen="0.0.0.0:8000", server=gateway.address, token="t")
    async with client(config, host=host) as http:
        answer = await http.get("/v1/jobs/a", headers={"Authorization": "Bearer t"})
    assert answer.status_code == status


async def test_on_loopback_it_answers_to_no_other_address(config: WebConfig) -> None:
    async with client(config, host="192.0.2.7:8000") as http:
        assert (await http.get("/v1/jobs/a")).status_code == 421


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("Authorization", b"Bearer \xe9", 401),
        ("Cookie", b"tuneyard_token=\xe9", 401),
        ("Cookie", b"tuneyard_token=t", 200),
        ("Cookie", b'of_another_port={"a": 1}; tuneyard_token=t', 200),
    ],
)
async def test_a_token_is_compared_whatever_else_comes(
    gateway: FakeGateway, header: str, value: bytes, status: int
) -> None:
    config = WebConfig(listen="0.0.0.0:8000", server=gateway.address, token="t", hosts=("lab.example",))
    async with client(config, host="lab.example:8000") as http:
        answer = await http.get("/v1/jobs/a", headers=[(header.encode(), value)])
    assert answer.status_code == status


async def test_every_answer_keeps_pages_to_themselves(config: WebConfig) -> None:
    async with client(config) as http:
        for path in ("/docs", "/openapi.json", "/", "/v1/nothing"):
            headers = (await http.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in headers["content-security-policy"]


def test_a_listener_for_other_machines_needs_a_token() -> None:
    with pytest.raises(ConfigError, match="TUNEYARD_TOKEN"):
        load_config({"TUNEYARD_WEB_LISTEN": "0.0.0.0:8000"})
