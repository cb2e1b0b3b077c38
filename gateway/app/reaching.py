"""
How the commands reach a gateway: over HTTP, page by page, with errors that say what to do.

Each error is one sentence that names the address and the remedy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, TypeVar

from gateway.client.addresses import http_root
from gateway.client.errors import CallFailed, Disconnected, NoGateway
from gateway.client.http_calls import HttpCalls
from gateway.domain.errors import GatewayError
from gateway.protocol.operations import OPERATIONS

__all__ = ["START_ONE", "WRONG_PLACE", "NotReached", "Reached"]

Answer = TypeVar("Answer")

# As many as a page may have; the gateway ends a page earlier when its items are large.
PAGE = 500
# How long the gateway may take for one answer, in seconds.
ANSWER_WAIT_S = 30.0

START_ONE = "start one with `gateway serve`, or name another address with --url"
WRONG_PLACE = "--url names a gateway, as `gateway serve` prints its address"


class NotReached(GatewayError):
    """There is no gateway, or it does not let this caller in: every other call would fail, too."""


class Reached:
    """
    A gateway over HTTP.

    Args:
        url: Its address, ``http://HOST:PORT`` or ``ws://HOST:PORT/ws``.
        token: The bearer token; None: an open gateway.

    Attributes:
        url: Its HTTP root.

    Raises:
        ConfigurationError: If ``url`` cannot be read.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self.url = http_root(url)
        self._token = token
        self._calls = HttpCalls(self.url, token=token)

    async def call(self, name: str, params: Mapping[str, Any] | None = None) -> Any:
        """
        Call an operation.

        Raises:
            CallFailed: If this one is refused.
            NotReached: If any would be.
        """
        try:
            answer = await self._calls.call(name, params or {}, timeout=ANSWER_WAIT_S)
        except (Disconnected, CallFailed) as error:
            raise self._told(error, name) from error
        wanted = OPERATIONS[name].result.get("required", ())
        if not isinstance(answer, dict) or any(field not in answer for field in wanted):
            raise NotReached(f"{self.url}: what answers there is no gateway; {WRONG_PLACE}")
        return answer

    async def listed(
        self, name: str, filters: Mapping[str, Any], limit: int | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """
        Give the items of a list, over all its pages.

        Args:
            filters: Parameters of the operation; those that are None do not count.
            limit: How many at the most; None: all.

        Raises:
            CallFailed, NotReached: As for ``call``.
        """
        asked = {name: value for name, value in filters.items() if value is not None}
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            page = await self.call(name, {**asked, "limit": size})
            for item in page["items"]:
                yield item
            if page["next"] is None:
                return
            asked["cursor"] = page["next"]
            left = None if left is None else left - len(page["items"])

    async def now(self) -> float:
        """
        Ask the gateway for its time, in seconds since the Unix epoch; ages are told by it.

        Raises:
            NotReached: If there is none.
        """
        return await self._answer(self._calls.now(timeout=ANSWER_WAIT_S))

    async def ready(self) -> str | None:
        """
        Ask whether the gateway is ready; None: it is, else why it is not.

        Raises:
            NotReached: If there is none.
        """
        return await self._answer(self._calls.ready(timeout=ANSWER_WAIT_S))

    async def _answer(self, asked: Awaitable[Answer]) -> Answer:
        """Wait for what every gateway answers: where that fails, there is none."""
        try:
            return await asked
        except (Disconnected, CallFailed) as error:
            told = self._told(error, "")
            raise told if isinstance(told, NotReached) else NotReached(str(told)) from error

    def _told(self, error: GatewayError, name: str) -> GatewayError:
        """Say what to do about an error; one of the call alone stays as it is."""
        if isinstance(error, Disconnected):
            return NotReached(f"{self.url}: {error}; {START_ONE}")
        assert isinstance(error, CallFailed)
        if isinstance(error, NoGateway):
            return NotReached(f"{self.url}: {error.message}; {WRONG_PLACE}")
        if error.code == "unauthenticated" and self._token is None:
            return NotReached(
                f"{self.url}: it asks for a token; give one with --token-file or GATEWAY_TOKEN "
                f"({_made(name)} makes one)"
            )
        if error.code == "unauthenticated":
            return NotReached(
                f"{self.url}: it does not take this token, which has expired or was signed for "
                f"another gateway; {_made(name)} makes one, with this gateway's secret"
            )
        if error.code == "not_permitted" and error.message.startswith("this needs the scope"):
            return NotReached(
                f"{self.url}: {error.message}, which this token has not; give another with "
                f"--token-file or GATEWAY_TOKEN ({_made(name)} makes one)"
            )
        if error.code == "not_permitted" and error.field is None:
            return NotReached(f"{self.url}: {error.message}")
        if error.code == "not_found" and error.field is None:
            return NotReached(f"{self.url}: {error.message}; {WRONG_PLACE}")
        if error.code == "unavailable":
            return NotReached(f"{self.url}: {error.message}; try again when it is back")
        return error


def _made(name: str) -> str:
    scope = OPERATIONS[name].scope if name else "admin"
    return f"`gateway token --user NAME --scope {scope}`"
