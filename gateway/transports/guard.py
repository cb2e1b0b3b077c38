"""
Who may talk to us at all, before anything is looked at: Host, Origin and, when open, from where.

A page of any web site can make a browser talk to 127.0.0.1, and by rebinding its name's address
even as "same origin". So on a loopback address the Host has to be a loopback name or one that is
configured, and a browser's Origin has to be our own or an allowed one, on every address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.transports.problem import problem

__all__ = ["ANY_ORIGIN", "Guard"]

# In the allowed origins: every one.
ANY_ORIGIN = "*"


class Guard:
    """
    ASGI middleware that refuses with 403.

    Args:
        app: What is guarded.
        allowed_origins: Origins allowed beside our own, ``https://app.example.com``; their
            hosts are hosts that we may be called by.
        open_gateway: There is no secret, so that only this machine may talk to us.
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
                    # Before the handshake is accepted this is a plain 403 under every server.
                    await receive()
                    await send({"type": "websocket.close", "code": 1008, "reason": reason})
                else:
                    await problem(403, "not_permitted", reason)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refuse(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if _is_loopback(scope.get("server")) and not self._knows_host(host):
            return (
                "this Host is neither a loopback name nor configured; "
                "if it is yours, add its origin to the allowed origins"
            )
        client = scope.get("client")
        if self._open and _address(client) is not None and not _is_loopback(client):
            return "without a secret the gateway serves this machine only; set a token secret"
        origin = headers.get("origin")
        if origin is not None and not self._allows(origin.lower(), host.lower()):
            return "this Origin is not allowed; if it is yours, add it to the allowed origins"
        return None

    def _knows_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return True
        return _is_loopback((name, 0))

    def _allows(self, origin: str, host: str) -> bool:
        if origin in self._origins or ANY_ORIGIN in self._origins:
            return True
        scheme, _, own = origin.partition("://")
        return scheme in ("http", "https") and own == host


def _address(peer: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address of an ASGI ``(host, port)``; None: a path, a test's name, nothing."""
    if not isinstance(peer, tuple | list) or not peer or not isinstance(peer[0], str):
        return None
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_loopback(peer: object) -> bool:
    address = _address(peer)
    return address is not None and address.is_loopback
