from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuneyard.storage import SignatureExpired, SignatureInvalid
from tuneyard.storage.signing import SignedRequest, UrlSigner

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


def signer(secret: bytes = b"secret") -> UrlSigner:
    return UrlSigner(secret, public_url="https://host:1/", clock=lambda: NOW)


def path(url: str) -> str:
    return url.removeprefix("https://host:1")


def test_a_signed_url_says_what_it_allows() -> None:
    url = signer().sign("PUT", "a b/ü?&", expires=HOUR, upload_id="u", part=3)
    assert url.startswith("https://host:1/objects/a%20b/%C3%BC%3F%26?")
    assert signer().verify("PUT", path(url), now=NOW) == SignedRequest(
        method="PUT", key="a b/ü?&", expires=NOW + HOUR, upload_id="u", part=3
    )


@given(st.text(st.characters(codec="utf-8"), max_size=50))
def test_any_filename_is_carried(filename: str) -> None:
    url = signer().sign("GET", "k", expires=HOUR, filename=filename)
    assert signer().verify("GET", path(url), now=NOW).filename == filename


def test_a_url_to_get_serves_head() -> None:
    url = signer().sign("GET", "k", expires=HOUR)
    assert signer().verify("HEAD", path(url), now=NOW).method == "GET"


def test_a_url_expires_to_the_second() -> None:
    url = path(signer().sign("GET", "k", expires=HOUR))
    signer().verify("GET", url, now=NOW + HOUR - timedelta(seconds=1))
    with pytest.raises(SignatureExpired):
        signer().verify("GET", url, now=NOW + HOUR)


def test_an_altered_expired_url_is_invalid_rather_than_expired() -> None:
    url = path(signer().sign("GET", "k", expires=HOUR)).replace("/k?", "/l?")
    with pytest.raises(SignatureInvalid):
        signer().verify("GET", url, now=NOW + 2 * HOUR)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "get", ""])
def test_another_method_is_refused(method: str) -> None:
    with pytest.raises(SignatureInvalid):
        signer().verify(method, path(signer().sign("GET", "k", expires=HOUR)), now=NOW)


def test_another_secret_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        signer(b"other").verify("GET", path(signer().sign("GET", "k", expires=HOUR)), now=NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"expires": "1999999999"},
        {"part": "2"},
        {"upload": "v"},
        {"upload": None},
        {"part": None},
        {"filename": "x"},
        {"signature": "é"},
        {"signature": ""},
        {"signature": None},
        {"expires": "soon"},
        {"expires": "9" * 30},
        {"unknown": "x"},
    ],
)
def test_a_changed_query_is_refused(changed: dict[str, str | None]) -> None:
    url = path(signer().sign("PUT", "k", expires=HOUR, upload_id="u", part=1))
    values = {**dict(parse_qsl(url.partition("?")[2])), **changed}
    query = urlencode({name: value for name, value in values.items() if value is not None})
    with pytest.raises(SignatureInvalid):
        signer().verify("PUT", f"/objects/k?{query}", now=NOW)


@pytest.mark.parametrize(
    "broken", ["", "/", "/objects/", "/objects/k", "/objects/k?", "/elsewhere/k?{}", "/objects/../k?{}"]
)
def test_a_path_that_was_never_signed_is_refused(broken: str) -> None:
    query = path(signer().sign("GET", "k", expires=HOUR)).partition("?")[2]
    with pytest.raises(SignatureInvalid):
        signer().verify("GET", broken.format(query), now=NOW)


def test_a_parameter_given_twice_is_refused() -> None:
    url = path(signer().sign("GET", "k", expires=HOUR))
    expires = url.partition("expires=")[2].partition("&")[0]
    with pytest.raises(SignatureInvalid):
        signer().verify("GET", f"{url}&expires={expires}", now=NOW)
