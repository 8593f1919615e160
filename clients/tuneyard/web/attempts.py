"""Wrong tokens by where they come from: after some within a minute callers are told to wait, and after as
many different ones none is looked at, so that nobody finds the right one by trying. Kept in memory, of a
bounded number of addresses; what a token is compared with is `session`'s business.
"""

import enum
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.types import Scope

MOST_WRONG: Final = 10
"""Within a minute: nobody mistypes so often."""
SECONDS: Final = 60
KNOWN_SECONDS: Final = 3600
"""For so long after a right token its address is heard, whatever else comes from there: somebody who guesses
behind the same router, or beside it on the same machine, keeps nobody out.
"""
MOST_ADDRESSES: Final = 4096
_IPV6_NETWORK_BITS: Final = 64
"""Whoever has one address of such a network has all of them."""

Clock = Callable[[], float]


class Verdict(enum.Enum):
    """What a token is worth."""

    RIGHT = enum.auto()
    WRONG = enum.auto()
    TOO_MANY = enum.auto()
    """Wrong, or not looked at."""


@dataclass
class _Origin:
    begin: float
    """Of the minute in which wrong tokens are counted."""
    times: int = 0
    wrong: set[int] = field(default_factory=set)
    """The different ones, as hashes. A program that goes on with an old token is no guessing: it has one."""
    right: float = -math.inf
    """When the last right one came."""


class Attempts:
    """The wrong tokens of the last minute, and where right ones have come from."""

    def __init__(self, *, now: Clock = time.monotonic) -> None:
        self._now = now
        self._origins: OrderedDict[str, _Origin] = OrderedDict()

    def judge(self, scope: Scope, token: str, *, is_right: bool) -> Verdict:
        """Counts a token that came with a request."""
        origin, now = self._origin(scope), self._now()
        if now - origin.begin >= SECONDS:
            origin.begin, origin.times, origin.wrong = now, 0, set()
        guesses = len(origin.wrong) >= MOST_WRONG
        if is_right and (not guesses or now - origin.right < KNOWN_SECONDS):
            origin.right = now
            return Verdict.RIGHT
        if not guesses:
            origin.wrong.add(hash(token))
        origin.times += 1
        return Verdict.WRONG if origin.times <= MOST_WRONG else Verdict.TOO_MANY

    def retry_after_seconds(self, scope: Scope) -> int:
        """How long those who come from there are to wait."""
        return max(1, math.ceil(self._origin(scope).begin + SECONDS - self._now()))

    def _origin(self, scope: Scope) -> _Origin:
        name = _name(scope)
        found = self._origins.pop(name, None) or _Origin(self._now())
        self._origins[name] = found
        if len(self._origins) > MOST_ADDRESSES:
            self._origins.popitem(last=False)
        return found


def _name(scope: Scope) -> str:
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4 or address.ipv4_mapped:
        return host
    return str(ipaddress.ip_network((int(address), _IPV6_NETWORK_BITS), strict=False))
