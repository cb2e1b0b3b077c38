"""The errors that a client of a gateway may see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.errors import GatewayError, RequestError

__all__ = ["CallFailed", "Disconnected", "NoGateway", "Refused"]


class Disconnected(GatewayError):
    """The connection was lost before the answer; the gateway may have done it or not."""


class Refused(GatewayError):
    """
    The gateway refuses this client for good; trying again would not help.

    Attributes:
        code: The close code, or the HTTP status of a refused handshake.
        reason: The gateway's reason; may be empty.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"refused with {code}: {reason or 'no reason given'}")
        self.code = code
        self.reason = reason


class CallFailed(RequestError):
    """
    A call was answered with an error; ``code``, ``field`` and ``retry_after`` say which.

    Attributes:
        number: JSON-RPC's error code; None: the call was made over HTTP.
    """

    def __init__(self, error: Mapping[str, Any]) -> None:
        data = error.get("data") or {}
        super().__init__(
            str(error.get("message", "")),
            code=data.get("code"),
            field=data.get("field"),
            retry_after=data.get("retry_after"),
        )
        self.number = error.get("code")


class NoGateway(CallFailed):
    """Something else than a gateway has answered: a page, a proxy, another service."""

    def __init__(self, answered: str) -> None:
        super().__init__({"message": f"what answers there is no gateway: {answered}"})
