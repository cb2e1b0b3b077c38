"""The calls over one connection that wait for their answers; once it is lost, none comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from gateway.client.errors import CallFailed, Disconnected

__all__ = ["Calls"]

OnResult = Callable[[Mapping[str, Any]], None]


class Calls:
    """
    Requests over one connection, by id; ids are never used again, so that a late answer finds
    nobody.

    Args:
        websocket: Where to send them.

    Attributes:
        lost: Set once nothing comes over the connection any more; whoever asks is told at once.
    """

    def __init__(self, websocket: ClientConnection) -> None:
        self.lost = asyncio.Event()
        self._websocket = websocket
        self._last_id = 0
        self._waiting: dict[int, _Call] = {}

    async def ask(
        self, method: str, params: Mapping[str, Any], *, on_result: OnResult | None = None
    ) -> Any:
        """
        Send a request and wait for its answer. Cancelling forgets it.

        Args:
            method: What to ask for.
            params: With what.
            on_result: Called with the result before the next frame is looked at, which may be
                an event that follows it.

        Raises:
            CallFailed: If it is refused.
            Disconnected: If the connection is lost before the answer.
        """
        if self.lost.is_set():
            raise Disconnected("the connection is lost")
        self._last_id += 1
        id = self._last_id
        call = self._waiting[id] = _Call(on_result)
        frame = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        try:
            await self._websocket.send(orjson.dumps(frame), text=True)
            return await call.answer
        except ConnectionClosed as error:
            # Known here first, perhaps: who tries again at once is not to try this one.
            self.lose()
            raise Disconnected("the connection was lost before the answer") from error
        finally:
            del self._waiting[id]
            call.forget()

    def take(self, reply: Mapping[str, Any]) -> None:
        """Give a reply to whoever waits for it."""
        call = self._waiting.get(reply["id"])
        if call is None or call.answer.done():
            return
        if "error" in reply:
            call.answer.set_exception(CallFailed(reply["error"]))
            return
        if call.on_result is not None:
            call.on_result(reply["result"])
        call.answer.set_result(reply["result"])

    def lose(self) -> None:
        """Tell those who wait, and whoever asks later, that no answer comes."""
        self.lost.set()
        for call in self._waiting.values():
            if not call.answer.done():
                lost = Disconnected("the connection was lost before the answer")
                call.answer.set_exception(lost)


class _Call:
    """A request that waits for its answer."""

    __slots__ = ("answer", "on_result")

    def __init__(self, on_result: OnResult | None) -> None:
        self.on_result = on_result
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def forget(self) -> None:
        """Nobody waits any more; an answer that came all the same counts as seen."""
        if not self.answer.cancel() and not self.answer.cancelled():
            self.answer.exception()
