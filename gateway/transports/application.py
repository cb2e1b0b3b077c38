"""The ASGI application: all doors on one Starlette app, served alone or mounted in another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, WebSocketRoute

from gateway.domain.settings import Settings
from gateway.execution.service import Service
from gateway.protocol.operations import HEADER_PARAMS
from gateway.transports.access import Access
from gateway.transports.event_stream import EventStreamDoor
from gateway.transports.guard import Guard
from gateway.transports.http import health_routes, operation_routes, upgrade_route
from gateway.transports.hub import Hub
from gateway.transports.limits import Limits
from gateway.transports.mcp import MCP_HEADERS, SESSION_HEADER, McpDoor
from gateway.transports.metrics import metrics_route
from gateway.transports.pages import document_routes, page_routes
from gateway.transports.problem import http_problem, server_error
from gateway.transports.request_id import HEADER as REQUEST_ID
from gateway.transports.request_id import RequestIds
from gateway.transports.websocket import WebSocketDoor

__all__ = ["create_app", "running"]

# A browser may come with an offset that this node has not read yet. The node has this long to
# catch up before the browser is told to try again, in seconds.
LAG_WAIT_S = 2.0

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def create_app(
    service: Service,
    settings: Settings,
    frontend_dir: Path | None,
    *,
    open_gateway: bool,
    lifespan: Lifespan | None = None,
    extra_routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """
    Build the application.

    When the application is mounted in another one, its own lifespan does not run: the outer
    application has to enter ``running(app)`` in its lifespan.

    Args:
        service: What answers the operations.
        settings: Limits of connections, allowed origins, what tokens have to be.
        frontend_dir: The page's directory with ``index.html``; None: no page.
        open_gateway: There is no secret: a caller without a user id is an operator, and only
            this machine may connect.
        lifespan: Entered while the hub feeds connections; None: nothing is entered.
        extra_routes: More routes, which match before ours.

    Returns:
        The app; ``app.state.hub`` is its hub, ``app.state.access`` turns tokens into callers,
        ``app.state.limits`` counts connections and requests.

    Raises:
        ConfigurationError: If the secret or the file of keys cannot be used, or an open gateway
            may not have these settings.
    """
    settings.require_open_safe()
    # The log in memory is never behind. With a shared log this node may be behind another node
    # that the browser was connected to before.
    lag_wait_s = 0.0 if settings.store == "memory" else LAG_WAIT_S
    hub = Hub(
        service.log,
        service.clock,
        service.ids,
        settings,
        lag_wait_s=lag_wait_s,
        count=service.connections,
        meters=service.meters,
        log_time=service.log_time,
    )
    access = Access(
        settings, service.clock, open_gateway=open_gateway, refused=service.sign_in_refused
    )
    limits = Limits(settings, service.clock, service.meters)

    @contextlib.asynccontextmanager
    async def whole_lifespan(app: Starlette) -> AsyncIterator[Any]:
        async with running(app), (lifespan or _no_lifespan)(app) as state:
            yield state

    middleware = [
        Middleware(RequestIds, service.ids),
        Middleware(Guard, settings.allowed_origins, open_gateway=open_gateway),
    ]
    if settings.allowed_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.allowed_origins,
                allow_methods=("GET", "POST", "PUT", "DELETE"),
                allow_headers=(
                    "authorization",
                    "last-event-id",
                    REQUEST_ID,
                    *HEADER_PARAMS,
                    *MCP_HEADERS,
                ),
                expose_headers=(
                    "location",
                    "retry-after",
                    "position",
                    REQUEST_ID,
                    SESSION_HEADER,
                ),
            )
        )
    app = Starlette(
        routes=[
            *extra_routes,
            # Routes are tried in this order; these have the most requests.
            *operation_routes(service, access, limits),
            WebSocketRoute("/ws", WebSocketDoor(hub, service, access, limits).serve),
            upgrade_route("/ws"),
            EventStreamDoor(hub, service, access, limits).route(),
            McpDoor(service, access, limits).route(),
            *health_routes(service, access),
            metrics_route(hub, service, access, limits),
            *document_routes(open_gateway=open_gateway),
            *page_routes(frontend_dir),
        ],
        middleware=middleware,
        exception_handlers={HTTPException: http_problem, Exception: server_error},
        lifespan=whole_lifespan,
    )
    # A path has one spelling: a redirect would cost a round trip, and lose a body.
    app.router.redirect_slashes = False
    app.state.hub = hub
    app.state.access = access
    app.state.limits = limits
    return app


@contextlib.asynccontextmanager
async def running(app: Starlette) -> AsyncIterator[Hub]:
    """
    Feed the connections of an app made by ``create_app``, and keep its keys, while inside.

    At the end the connections that are left are closed with 1012, then dropped.
    """
    hub: Hub = app.state.hub
    access: Access = app.state.access
    feeding = asyncio.create_task(hub.run())
    # Nothing may be appended before the hub follows the log, or the hub would miss it.
    await hub.wait_running()
    try:
        async with access.running():
            yield hub
    finally:
        await hub.end(limit_s=END_S)
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding


# How long peers have to answer the close frame, in seconds.
END_S = 1.0


@contextlib.asynccontextmanager
async def _no_lifespan(app: Any) -> AsyncIterator[None]:
    yield
