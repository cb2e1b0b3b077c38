"""
Forwarded: what a trusted proxy passes on counts for the client that it comes from.

A proxy has connections of its own, over each of which it sends requests of many clients. Whose one
is stands in its head (``X-Forwarded-For``), which uvicorn has read by then.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.transports.places import place_of

__all__ = ["Forwarded"]


class Forwarded:
    """
    An ASGI application in front of another, and behind uvicorn's ``ProxyHeadersMiddleware``.

    Args:
        app: The application.
        crowded: The application for a request from an address that has too many connections; a
            WebSocket's is refused by the application itself.
    """

    def __init__(self, app: ASGIApp, crowded: ASGIApp) -> None:
        self._app = app
        self._crowded = crowded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        place = place_of(scope)
        if place is not None and place.forwarded:
            place.move((scope.get("client") or (None,))[0])
            if place.crowded is not None and scope["type"] == "http":
                await self._crowded(scope, receive, send)
                return
        await self._app(scope, receive, send)
