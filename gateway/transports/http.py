"""
HTTP: one route for each path in the table of operations, and the routes for health.

Nothing here knows an operation by name: parameters and results stand in ``protocol.operations``.
``Position: EPOCH:OFFSET`` says how new an answer is; as ``min_position`` it asks another node for
nothing older.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import RequestError, StoreUnavailable
from gateway.domain.redaction import redact_text
from gateway.domain.stream import Position
from gateway.domain.timestamps import rfc3339
from gateway.execution.service import Service
from gateway.protocol.operations import OPERATIONS, Operation
from gateway.transports.access import Access
from gateway.transports.limits import Limits
from gateway.transports.problem import problem, problem_of
from gateway.transports.request_id import request_id
from gateway.transports.requests import caller_of, params_of, wait_disconnect
from gateway.transports.safe_headers import NO_STORE

__all__ = [
    "answer_errors",
    "health_routes",
    "json_response",
    "operation_routes",
    "upgrade_route",
    "while_there",
]

Endpoint = Callable[[Request], Awaitable[Response]]

logger = logger_of(__name__)

# Each route before that of a request costs it a microsecond; these paths have the most requests.
BUSY = ("/api/events", "/api/tasks")

NOT_READY = "ask another node, or this one again in a moment"


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON."""
    return Response(orjson.dumps(value), status, headers, "application/json")


def operation_routes(service: Service, access: Access, limits: Limits) -> list[BaseRoute]:
    """Make the routes of all operations; busy paths and those without parameters come first."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS.values():
        for path in filter(None, (operation.path, operation.also_at)):
            by_path.setdefault(path, {})[operation.method] = operation
    return [
        Route(
            _routed(path),
            _endpoint(by_path[path], service, access, limits),
            methods=list(by_path[path]),
        )
        for path in sorted(by_path, key=lambda path: (path not in BUSY, path.count("{"), path))
    ]


def _routed(path: str) -> str:
    """The id of a user is taken as it was issued, and may hold a slash."""
    return path.replace("{user_id}", "{user_id:path}")


def health_routes(service: Service, access: Access) -> list[BaseRoute]:
    """
    Make ``/health`` (the process is alive) and ``/ready`` (a balancer may send requests).

    Why it should not is for operators: others are told one sentence, whatever the reason.
    """

    async def health(request: Request) -> Response:
        told = {"status": "ok", "timestamp": rfc3339(service.clock.wall())}
        return json_response(told, headers=NO_STORE)

    async def ready(request: Request) -> Response:
        if (reason := service.reason) is not None:
            shown = redact_text(reason) if await _is_operator(request, access) else NOT_READY
            return problem(503, "unavailable", f"not ready: {shown}", retry_after=1.0)
        position = Position(service.log.epoch, service.log.head).as_dict()
        told: dict[str, Any] = {"status": "ready", "position": position}
        if (doubt := service.doubt) is not None:
            told["warnings"] = [doubt]
        return json_response(told, headers=NO_STORE)

    return [Route("/health", health), Route("/ready", ready)]


async def _is_operator(request: Request, access: Access) -> bool:
    try:
        return (await caller_of(request, access)).operator
    except RequestError:
        return False


def upgrade_route(path: str) -> BaseRoute:
    """Make the route that tells plain requests for a WebSocket's path what it is."""

    async def upgrade(request: Request) -> Response:
        # RFC 9110, 15.5.22: the answer names the protocol in Upgrade.
        headers = {"upgrade": "websocket", "connection": "Upgrade"}
        return problem(426, "upgrade_required", f"{path} is a WebSocket", headers=headers)

    return Route(path, upgrade, methods=["GET"])


def answer_errors(endpoint: Endpoint) -> Endpoint:
    """Turn what an endpoint raises into a problem; an unexpected error is logged, not shown."""

    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except (RequestError, StoreUnavailable) as error:
            return problem_of(error)
        except ClientDisconnect:
            # The client is gone; no reader is left for this answer.
            return Response(status_code=400)
        except Exception:
            what = (request.method, request.url.path)
            logger.exception("%s %s failed", *what, extra={"request_id": request_id()})
            return problem(500, "internal_error", "internal error")

    return answered


def _endpoint(
    operations: Mapping[str, Operation], service: Service, access: Access, limits: Limits
) -> Endpoint:
    async def call(request: Request) -> Response:
        # Starlette accepts HEAD wherever GET is served.
        operation = operations.get(request.method) or operations["GET"]
        caller = await limits.admitted(request, access)
        with limits.held(caller):
            params = await params_of(request, operation)
            log = service.log
            # What is read is at least as new as this; an await may let newer entries in.
            position = Position(log.epoch, log.head)
            work = service.call(operation.name, params, caller)
            result = await (while_there(request, work) if operation.waits else work)
        if operation.method != "GET":
            position = Position(log.epoch, log.head)  # what was written is in
        headers = {"position": str(position), **NO_STORE}
        if result is None:
            return Response(status_code=204, headers=headers)
        headers |= _location(request, operation, result)
        return json_response(result, operation.status, headers)

    return answer_errors(call)


async def while_there(request: Request, work: Awaitable[Any]) -> Any:
    """
    Run ``work``, which may wait for long; cancel it when the client disconnects.

    Raises:
        ClientDisconnect: If the client has disconnected.
    """
    working = asyncio.ensure_future(work)
    going = asyncio.ensure_future(wait_disconnect(request.receive))
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        going.cancel()
        await asyncio.gather(working, going, return_exceptions=True)


def _location(request: Request, operation: Operation, result: Any) -> dict[str, str]:
    """Give the address of a created resource (RFC 9110, 10.2.2): the GET path below this path."""
    if operation.status != 201 or not isinstance(result, dict):
        return {}
    for path, name in _SHOWN_AT.get(operation.path, ()):
        if isinstance(result.get(name), str):
            root = request.scope.get("root_path", "")
            return {"location": root + path.replace(f"{{{name}}}", quote(result[name], safe=":@~"))}
    return {}


def _shown_at(operations: Iterable[Operation]) -> dict[str, list[tuple[str, str]]]:
    shown: dict[str, list[tuple[str, str]]] = {}
    for operation in operations:
        parent, _, last = operation.path.rpartition("/")
        if operation.method == "GET" and last.startswith("{"):
            shown.setdefault(parent, []).append((operation.path, last.strip("{}")))
    return shown


_SHOWN_AT = _shown_at(OPERATIONS.values())
