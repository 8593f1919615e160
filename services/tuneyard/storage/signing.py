"""Signed URLs of the folder store: HMAC-SHA256 over all that a request may do. `http` serves them."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, unquote, urlencode

from tuneyard.storage.errors import InvalidKey, SignatureExpired, SignatureInvalid
from tuneyard.storage.keys import check_key
from tuneyard.storage.store import check_expiry

PATH_PREFIX = "/objects/"
# Named in what is signed, so that a later scheme cannot be confused with this one.
_SCHEME = "tuneyard-object-v1"


@dataclass(frozen=True)
class SignedRequest:
    """What a signed URL allows: a whole object, or with an `upload_id` that upload's part `part`."""

    method: str
    key: str
    expires: datetime
    upload_id: str | None = None
    part: int | None = None
    filename: str | None = None


class UrlSigner:
    """Makes and checks signed URLs below one public address with one secret."""

    def __init__(self, secret: bytes, *, public_url: str, clock: Callable[[], datetime]) -> None:
        self._secret = secret
        self._public_url = public_url.rstrip("/")
        self._clock = clock

    def sign(
        self,
        method: str,
        key: str,
        *,
        expires: timedelta,
        upload_id: str | None = None,
        part: int | None = None,
        filename: str | None = None,
    ) -> str:
        check_expiry(expires)
        until = datetime.fromtimestamp(int((self._clock() + expires).timestamp()), UTC)
        request = SignedRequest(method, key, until, upload_id=upload_id, part=part, filename=filename)
        query = urlencode([*_parameters(request), ("signature", self._signature(request))], quote_via=quote)
        return f"{self._public_url}{PATH_PREFIX}{quote(key)}?{query}"

    def verify(self, method: str, path_and_query: str, *, now: datetime) -> SignedRequest:
        """What a request for this path (as sent, still quoted) may do.

        Raises SignatureInvalid, or SignatureExpired for a URL that was good. A GET URL serves HEAD too.
        """
        request, signature = _parse("GET" if method == "HEAD" else method, path_and_query)
        if not hmac.compare_digest(self._signature(request).encode(), signature.encode()):
            raise SignatureInvalid("the URL's signature does not fit the request")
        if now >= request.expires:
            raise SignatureExpired("the URL has expired; ask for a new one")
        return request

    def _signature(self, request: SignedRequest) -> str:
        # A key cannot contain a line break and urlencode leaves none, so no two requests share this text.
        text = "\n".join([_SCHEME, request.method, request.key, urlencode(_parameters(request))])
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()


def _parameters(request: SignedRequest) -> list[tuple[str, str]]:
    optional = {"upload": request.upload_id, "part": request.part, "filename": request.filename}
    given = [(name, str(value)) for name, value in optional.items() if value is not None]
    return [("expires", str(int(request.expires.timestamp()))), *given]


def _parse(method: str, path_and_query: str) -> tuple[SignedRequest, str]:
    path, _, query = path_and_query.partition("?")
    try:
        pairs = parse_qsl(
            query, strict_parsing=True, keep_blank_values=True, errors="strict", max_num_fields=5
        )
        values = dict(pairs)
        known = values.keys() <= {"expires", "signature", "upload", "part", "filename"}
        if len(values) != len(pairs) or not known or not path.startswith(PATH_PREFIX):
            raise ValueError
        request = SignedRequest(
            method=method,
            key=check_key(unquote(path.removeprefix(PATH_PREFIX), errors="strict")),
            expires=datetime.fromtimestamp(int(values["expires"]), UTC),
            upload_id=values.get("upload"),
            part=int(values["part"]) if "part" in values else None,
            filename=values.get("filename"),
        )
        return request, values["signature"]
    except (ValueError, KeyError, OverflowError, OSError, InvalidKey):
        raise SignatureInvalid("the URL is not a signed one") from None
