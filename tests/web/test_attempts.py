"""Wrong tokens: how many are looked at, whom they keep out, and whom not."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from tests.support.fake_gateway import FakeGateway
from tuneyard.web.app import make_app
from tuneyard.web.attempts import KNOWN_SECONDS, MOST_ADDRESSES, MOST_WRONG, SECONDS, Attempts, Verdict
from tuneyard.web.config import WebConfig

BASE = "http://lab.example:8000"


def of(address: str) -> dict[str, object]:
    return {"client": (address, 4711)}


HERE, THERE = of("192.0.2.1"), of("192.0.2.2")


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def attempts(clock: Clock) -> Attempts:
    return Attempts(now=clock)


def guess(attempts: Attempts, scope: dict[str, object], times: int = MOST_WRONG) -> None:
    for number in range(times):
        assert attempts.judge(scope, f"guess {number}", is_right=False) is Verdict.WRONG


def right(attempts: Attempts, scope: dict[str, object]) -> Verdict:
    return attempts.judge(scope, "t", is_right=True)


def wrong(attempts: Attempts, scope: dict[str, object]) -> Verdict:
    return attempts.judge(scope, "x", is_right=False)


def test_after_some_wrong_ones_none_is_looked_at_until_the_minute_is_over(
    attempts: Attempts, clock: Clock
) -> None:
    guess(attempts, HERE)
    clock.seconds += 20
    assert (wrong(attempts, HERE), right(attempts, HERE)) == (Verdict.TOO_MANY, Verdict.TOO_MANY)
    assert attempts.retry_after_seconds(HERE) == SECONDS - 20
    clock.seconds += SECONDS - 20
    assert right(attempts, HERE) is Verdict.RIGHT


def test_one_wrong_token_again_and_again_is_told_to_wait_and_keeps_the_right_one_from_nothing(
    attempts: Attempts,
) -> None:
    told = [wrong(attempts, HERE) for _ in range(3 * MOST_WRONG)]
    assert told == [Verdict.WRONG] * MOST_WRONG + [Verdict.TOO_MANY] * 2 * MOST_WRONG
    assert right(attempts, HERE) is Verdict.RIGHT
    assert wrong(attempts, HERE) is Verdict.TOO_MANY


def test_guesses_among_repeated_tokens_are_counted(attempts: Attempts) -> None:
    for _ in range(MOST_WRONG):
        wrong(attempts, HERE)
    for number in range(MOST_WRONG - 1):
        assert attempts.judge(HERE, f"guess {number}", is_right=False) is Verdict.TOO_MANY
    assert right(attempts, HERE) is Verdict.TOO_MANY


def test_who_has_brought_the_right_one_is_heard_beside_somebody_who_guesses(
    attempts: Attempts, clock: Clock
) -> None:
    assert right(attempts, HERE) is Verdict.RIGHT
    guess(attempts, HERE)
    assert (wrong(attempts, HERE), right(attempts, HERE)) == (Verdict.TOO_MANY, Verdict.RIGHT)
    clock.seconds += KNOWN_SECONDS
    guess(attempts, HERE)
    assert right(attempts, HERE) is Verdict.TOO_MANY


def test_addresses_are_counted_apart_and_one_ipv6_network_together(attempts: Attempts) -> None:
    guess(attempts, HERE)
    assert wrong(attempts, THERE) is Verdict.WRONG
    guess(attempts, of("2001:db8::1"))
    assert wrong(attempts, of("2001:db8::2")) is Verdict.TOO_MANY
    assert wrong(attempts, of("2001:db8:0:1::2")) is Verdict.WRONG
    guess(attempts, of("::ffff:192.0.2.3"))
    assert wrong(attempts, of("::ffff:192.0.2.4")) is Verdict.WRONG
    assert wrong(attempts, {"client": None}) is Verdict.WRONG


def test_of_many_addresses_those_heard_of_last_are_remembered(attempts: Attempts) -> None:
    guess(attempts, HERE)
    for number in range(MOST_ADDRESSES - 1):
        wrong(attempts, of(f"host-{number}"))
    assert wrong(attempts, HERE) is Verdict.TOO_MANY
    for number in range(MOST_ADDRESSES):
        wrong(attempts, of(f"other-{number}"))
    assert wrong(attempts, HERE) is Verdict.WRONG


@pytest.fixture
def edge(gateway: FakeGateway) -> Starlette:
    return make_app(
        WebConfig(listen="0.0.0.0:8000", server=gateway.address, token="t", hosts=("lab.example",))
    )


def caller(edge: Starlette, address: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(edge, raise_app_exceptions=False, client=(address, 4711))
    return httpx.AsyncClient(transport=transport, base_url=BASE)


async def bearer(http: httpx.AsyncClient, token: str) -> httpx.Response:
    return await http.get("/v1/jobs/a", headers={"Authorization": f"Bearer {token}"})


async def sign_in(http: httpx.AsyncClient, token: str) -> httpx.Response:
    return await http.put("/session", json={"token": token})


async def test_bearers_and_sign_ins_are_counted_together_and_told_when_to_come_back(
    edge: Starlette, gateway: FakeGateway
) -> None:
    async with caller(edge, "192.0.2.1") as http:
        asked = enumerate((bearer, sign_in) * (MOST_WRONG // 2))
        told = [(await ask(http, f"guess {number}")).status_code for number, ask in asked]
        assert told == [401] * MOST_WRONG
        for ask in (bearer, sign_in):
            answer = await ask(http, "t")
            problem = answer.json()
            assert answer.status_code == 429
            assert 1 <= int(answer.headers["retry-after"]) <= SECONDS
            assert problem["reason"] == "TOO_MANY_REQUESTS"
            assert f"in {answer.headers['retry-after']} s" in problem["detail"]
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await http.get("/v1/jobs/a")).status_code == 401
    async with caller(edge, "192.0.2.2") as http:
        assert (await bearer(http, "t")).status_code == 200
    assert gateway.calls["GetJob"] == 1


async def test_who_is_signed_in_or_known_goes_on_while_others_guess(
    edge: Starlette, gateway: FakeGateway
) -> None:
    async with caller(edge, "192.0.2.1") as browser, caller(edge, "192.0.2.1") as other:
        await sign_in(browser, "t")
        for number in range(MOST_WRONG):
            assert (await bearer(other, f"guess {number}")).status_code == 401
        assert (await bearer(other, "x")).status_code == 429
        assert (await browser.get("/v1/jobs/a")).status_code == 200
        assert (await bearer(other, "t")).status_code == 200


def test_a_sockets_wrong_tokens_count_too(edge: Starlette) -> None:
    headers = {"host": "lab.example:8000", "authorization": "Bearer x"}
    with TestClient(edge) as client:
        for _ in range(MOST_WRONG + 1):
            with (
                pytest.raises(WebSocketDisconnect) as refused,
                client.websocket_connect("/ws/training", headers=headers),
            ):
                pass
    assert "Too many wrong tokens" in refused.value.reason
