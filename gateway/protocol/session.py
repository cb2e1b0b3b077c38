"""
One connection as a state machine: text frames in, requests and refusals out. No I/O.

A frame is a JSON-RPC 2.0 request with an id. Batches are refused, and notifications from clients
as well, since a client could not be told that its notification failed. The table ``_ADMITTED``
says which requests are admitted in which phase. A frame that is no request is answered with a
refusal, and the connection stays, until too many such frames follow each other.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Container, Mapping
from typing import Any

from gateway.domain.errors import RequestError
from gateway.protocol.codes import CloseCode
from gateway.protocol.strict_json import PARAMS_LEVELS, BadJson, parse_json

__all__ = [
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "MALFORMED_IN_A_ROW_MAX",
    "METHOD_NOT_FOUND",
    "Id",
    "Phase",
    "Refusal",
    "Request",
    "Session",
    "notice",
    "refusal_of",
    "reply",
    "request_of",
    "unreadable",
]

# At so many malformed frames without a request between them the connection is closed with
# ``bad_request``: the client does not speak this protocol, and one more refusal would not help.
MALFORMED_IN_A_ROW_MAX = 10

# Levels that a frame puts around the parameters: the request.
FRAME_LEVELS = 1

# JSON-RPC 2.0, section 5.1.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
# Of our own range; the code of ``Unauthenticated``.
NOT_CONNECTED = -32003

Id = str | int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One well-formed request that is admitted. Its parameters are an object, not yet checked."""

    id: Id
    method: str
    params: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """
    An error reply.

    Attributes:
        id: The request's id; None when the frame had no valid one.
        code: JSON-RPC's integer.
        message: For developers.
        data: ``code`` in words, and ``field`` and ``retry_after`` where known.
        close: The code to close the connection with after the reply; None: it stays.
    """

    id: Id
    code: int
    message: str
    data: Mapping[str, Any]
    close: CloseCode | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give the reply as it stands on the wire."""
        error = {"code": self.code, "message": self.message, "data": dict(self.data)}
        return {"jsonrpc": "2.0", "id": self.id, "error": error}


class Phase(enum.Enum):
    """Where a connection is in its life."""

    NEW = "the caller is not known yet"
    READY = "requests are served"


# The methods that each phase admits; None: every method that exists.
_ADMITTED: Mapping[Phase, Container[str] | None] = {
    Phase.NEW: frozenset({"connect"}),
    Phase.READY: None,
}


class Session:
    """
    What one connection has received so far, and what it may ask for.

    Args:
        methods: The names of all methods.
        phase: READY when the handshake has already told who the caller is.
    """

    __slots__ = ("_malformed", "_methods", "phase")

    def __init__(self, methods: Container[str], *, phase: Phase = Phase.NEW) -> None:
        self._methods = methods
        self._malformed = 0
        self.phase = phase

    def receive(self, frame: str | bytes) -> Request | Refusal:
        """Read one text frame (``str``), or a binary one (``bytes``), which is refused."""
        found = _parse(frame)
        if isinstance(found, Refusal) and found.code in (PARSE_ERROR, INVALID_REQUEST):
            self._malformed += 1
            if self._malformed >= MALFORMED_IN_A_ROW_MAX:
                return dataclasses.replace(found, close=CloseCode.bad_request)
            return found
        if self.phase is Phase.READY:
            self._malformed = 0
        return found if isinstance(found, Refusal) else self._admit(found)

    def ready(self) -> None:
        """Take in that the client has connected: its requests are served."""
        self.phase = Phase.READY
        self._malformed = 0

    def refused(self) -> CloseCode | None:
        """
        Take in that a request was refused before the client has connected.

        It counts as a malformed frame. Returns the code to close with; None: the connection stays.
        """
        self._malformed += 1
        return CloseCode.bad_request if self._malformed >= MALFORMED_IN_A_ROW_MAX else None

    def _admit(self, request: Request) -> Request | Refusal:
        admitted = _ADMITTED[self.phase]
        if admitted is not None and request.method not in admitted:
            return Refusal(request.id, NOT_CONNECTED, "connect first", {"code": "unauthenticated"})
        if request.method not in self._methods:
            return Refusal(
                request.id,
                METHOD_NOT_FOUND,
                "there is no such method",
                {"code": "method_not_found", "field": "method"},
            )
        return request


def reply(id: Id, result: Any) -> dict[str, Any]:
    """Make the reply to a request that succeeded."""
    return {"jsonrpc": "2.0", "id": id, "result": result}


def notice(method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Make a notification of the server's: neither a reply nor an event."""
    return {"jsonrpc": "2.0", "method": method, "params": dict(params)}


def refusal_of(error: RequestError, id: Id, *, close: CloseCode | None = None) -> Refusal:
    """Make the reply to the request ``id`` that ``error`` refuses."""
    return Refusal(id, error.jsonrpc_code, error.message, error.data(), close)


def request_of(value: Any) -> Request | Refusal:
    """Read a request from a JSON value."""
    if isinstance(value, list):
        return _malformed(INVALID_REQUEST, "batches are not served, send one request at a time")
    if not isinstance(value, dict):
        return _malformed(INVALID_REQUEST, "a request has to be one JSON object")
    if "id" not in value:
        return _malformed(INVALID_REQUEST, "id is missing; notifications are refused", field="id")
    id = value["id"]
    if isinstance(id, bool) or not isinstance(id, str | int | None):
        return _malformed(INVALID_REQUEST, "id has to be a string, an integer or null", field="id")
    if value.get("jsonrpc") != "2.0":
        return _malformed(INVALID_REQUEST, 'jsonrpc has to be "2.0"', id=id, field="jsonrpc")
    method = value.get("method")
    if not isinstance(method, str):
        return _malformed(INVALID_REQUEST, "method has to be a string", id=id, field="method")
    params = value.get("params", {})
    if not isinstance(params, dict):
        return Refusal(
            id,
            INVALID_PARAMS,
            "params has to be an object",
            {"code": "invalid_params", "field": "params"},
        )
    return Request(id, method, params)


def unreadable(error: BadJson) -> Refusal:
    """Answer what is not even JSON."""
    return _malformed(PARSE_ERROR, str(error))


def _parse(frame: str | bytes) -> Request | Refusal:
    if isinstance(frame, bytes):
        return _malformed(INVALID_REQUEST, "frames have to be text, this one is binary")
    try:
        return request_of(parse_json(frame, around=PARAMS_LEVELS + FRAME_LEVELS))
    except BadJson as error:
        return unreadable(error)


def _malformed(code: int, message: str, *, id: Id = None, field: str | None = None) -> Refusal:
    data = {"code": "parse_error" if code == PARSE_ERROR else "invalid_request"}
    if field is not None:
        data["field"] = field
    return Refusal(id, code, message, data)
