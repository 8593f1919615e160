"""Wrong tokens by where they come from: after some different ones within a minute none from there is looked
at until it is over, so that nobody finds the right one by trying. Kept in memory, of a bounded number of
addresses; what a token is compared with is the interceptor's business.

A program that goes on with one wrong token is no guessing, and is told each time what is wrong. The web
server keeps such a list of its own, of browsers: none of their wrong tokens comes here.
"""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Final, TypeVar
from urllib.parse import unquote

from tuneyard.rpc.errors import TuneyardError

MOST_WRONG: Final = 10
"""Within a minute: nobody mistypes so often."""
SECONDS: Final = 60
KNOWN_SECONDS: Final = 3600
"""For so long after a right token its address is heard, whatever else comes from there: somebody who guesses
behind the same router or proxy, or beside it on the same machine, keeps nobody out.
"""
MOST_ADDRESSES: Final = 4096
_IPV6_NETWORK_BITS: Final = 64
"""Whoever has one address of such a network has all of them."""

Clock = Callable[[], float]
_T = TypeVar("_T")


@dataclass
class _Guesses:
    begin: float
    """Of the minute in which they are counted."""
    wrong: set[int] = field(default_factory=set)
    """The different ones, as hashes."""


class Attempts:
    """The wrong tokens of the last minute, and where right ones have come from."""

    def __init__(self, *, now: Clock = time.monotonic) -> None:
        self._now = now
        self._guesses: OrderedDict[str, _Guesses] = OrderedDict()
        self._right: OrderedDict[str, float] = OrderedDict()
        """When the last right one came."""

    def admit(self, peer: str, token: bytes, *, is_right: bool) -> None:
        """Passes a right token from a context's peer. UNAUTHENTICATED for a wrong one; TOO_MANY_REQUESTS
        where none is looked at.
        """
        name, now = _name(peer), self._now()
        guesses = self._guesses.get(name)
        if guesses is not None and now - guesses.begin >= SECONDS:
            del self._guesses[name]
            guesses = None
        is_closed = guesses is not None and len(guesses.wrong) >= MOST_WRONG
        if is_right and not (is_closed and now - self._right.get(name, -math.inf) >= KNOWN_SECONDS):
            self._right.pop(name, None)
            _put(self._right, name, now)
            return
        if is_closed and guesses is not None:
            raise _too_many(guesses.begin + SECONDS - now)
        if guesses is None:
            guesses = _Guesses(now)
            _put(self._guesses, name, guesses)
        guesses.wrong.add(hash(token))
        raise TuneyardError("UNAUTHENTICATED", "this server needs a valid bearer token")


def _put(of: OrderedDict[str, _T], name: str, value: _T) -> None:
    of[name] = value
    if len(of) > MOST_ADDRESSES:
        of.popitem(last=False)


def _too_many(seconds: float) -> TuneyardError:
    whole = max(1, math.ceil(seconds))
    return TuneyardError(
        "TOO_MANY_REQUESTS",
        f"too many different tokens came from this address; none is looked at for {whole} s",
        retry_after=timedelta(seconds=whole),
    )


@lru_cache(maxsize=MOST_ADDRESSES)
def _network(host: str) -> str:
    kind, _, address = unquote(host).partition(":")
    if kind != "ipv6":
        return host
    try:
        found = ipaddress.IPv6Address(address.strip("[]"))
    except ValueError:
        return host
    if found.ipv4_mapped:
        return f"ipv4:{found.ipv4_mapped}"
    return str(ipaddress.ip_network((int(found), _IPV6_NETWORK_BITS), strict=False))


def _name(peer: str) -> str:
    """Where a call comes from, without its port: "ipv4:192.0.2.1:4711", "ipv6:%5B::1%5D:4711", "unix:…"."""
    return _network(peer.rpartition(":")[0])
