"""
The guard: refuses requests by Host, Origin and, on an open gateway, by where they come from.

A page of any web site can make a browser send requests to 127.0.0.1. If that site changes the
address of its own name to 127.0.0.1 (DNS rebinding), the browser even takes them for same-origin.
So on a loopback address the Host has to be a loopback name or a configured one. On every address
a browser's Origin (RFC 6454, 7; RFC 6455, 10.2) has to be the gateway's own or an allowed one.
A gateway without a secret serves this machine, so what a proxy passes on from elsewhere is refused.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.domain.settings import ANY_ORIGIN
from gateway.transports.problem import problem

__all__ = ["Guard"]

# The longest text of an IP address: an IPv6 one that ends with an IPv4 one.
ADDRESS_CHARS_MAX = 45
# The longest Host that could be known: a name (RFC 1035, 2.3.4) and a port.
HOST_CHARS_MAX = 253 + len(":65535")
# Addresses, and hosts, that are remembered once they are read, which takes ten microseconds;
# requests come from a few. At the bound the one that was not used for longest is forgotten.
ADDRESSES_KEPT = 1024

# Headers that a proxy adds to what it passes on (RFC 7239; RFC 9110, 7.6.3), and those that begin
# with the prefix.
FORWARDED = frozenset({b"forwarded", b"x-real-ip", b"via"})
FORWARDED_PREFIX = b"x-forwarded-"
# What Starlette's test client has for an address: it calls from this very process.
TEST_CLIENT = "testclient"


class Guard:
    """
    ASGI middleware that answers a refused request with 403.

    Args:
        app: The application behind it.
        allowed_origins: Origins allowed beside the gateway's own, ``https://app.example.com``.
            Their host names are accepted as Host, too.
        open_gateway: There is no secret: only clients on this machine are accepted, and none that
            a proxy passes on or that has no address, as over a Unix socket.
    """

    def __init__(self, app: ASGIApp, allowed_origins: Iterable[str], *, open_gateway: bool) -> None:
        self._app = app
        self._origins = frozenset(origin.rstrip("/").lower() for origin in allowed_origins)
        self._hosts = frozenset(urlsplit(origin).hostname for origin in self._origins)
        self._open = open_gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            reason = self._refuse(scope)
            if reason is not None:
                if scope["type"] == "websocket":
                    # Closing before accepting makes every server answer 403 (ASGI, WebSocket).
                    await receive()
                    await send({"type": "websocket.close", "code": 1008, "reason": reason})
                else:
                    await problem(403, "not_permitted", reason)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refuse(self, scope: Scope) -> str | None:
        # Of a header that comes several times the first counts.
        headers = dict(reversed(scope["headers"]))
        host = headers.get(b"host", b"").decode("latin-1")
        if _is_loopback(scope.get("server")) and not self._knows_host(host):
            return (
                "this Host is neither a loopback name nor configured; "
                "if it is yours, add its origin to the allowed origins"
            )
        if self._open and (reason := _not_from_here(scope)) is not None:
            return f"without a secret the gateway serves this machine only; {reason}"
        origin = headers.get(b"origin")
        if origin is not None and not self._allows(origin.decode("latin-1").lower(), host.lower()):
            return "this Origin is not allowed; if it is yours, add it to the allowed origins"
        return None

    def _knows_host(self, host: str) -> bool:
        name = _name_in(host) if len(host) <= HOST_CHARS_MAX else ""
        if name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return True
        return _is_loopback((name, 0)) is True

    def _allows(self, origin: str, host: str) -> bool:
        if origin in self._origins or ANY_ORIGIN in self._origins:
            return True
        scheme, _, own = origin.partition("://")
        return scheme in ("http", "https") and own == host


def _not_from_here(scope: Scope) -> str | None:
    """Say why a request may come from elsewhere, and the remedy; None: it comes from here."""
    for name, _ in scope["headers"]:
        if name in FORWARDED or name.startswith(FORWARDED_PREFIX):
            header = name.decode("latin-1")
            return f"a proxy passed this on (it has the header {header}): set token_secret or jwks"
    client = scope.get("client")
    if _is_loopback(client) or (client and client[0] == TEST_CLIENT):
        return None
    return "this client is not known to be on it: set token_secret or jwks"


def _is_loopback(peer: object) -> bool | None:
    """
    Tell whether an ASGI ``(host, port)`` is on this machine.

    None: it is no IP address, but a socket path, a name or nothing.
    """
    if not isinstance(peer, tuple | list) or not peer or not isinstance(peer[0], str):
        return None
    text = peer[0].partition("%")[0]
    return _is_loopback_address(text) if len(text) <= ADDRESS_CHARS_MAX else None


@functools.lru_cache(ADDRESSES_KEPT)
def _name_in(host: str) -> str:
    """Give the name or address in a Host, without its port; empty: there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


@functools.lru_cache(ADDRESSES_KEPT)
def _is_loopback_address(text: str) -> bool | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
