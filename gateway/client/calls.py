"""
Calls over one connection: requests that wait for their answers.

Once the connection is lost, every waiting and every later call fails at once.
"""

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
    The calls of one connection, by id. An id is never used again, so that a late answer to a
    cancelled call is not taken for the answer to another call.

    Args:
        websocket: Where requests are sent.

    Attributes:
        lost: Set once the connection is lost.
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
        Send a request and wait for its answer. When cancelled, a late answer is ignored; the
        gateway may still have done what was asked.

        Args:
            method: The name of the operation.
            params: Its parameters.
            on_result: Called with the result before the next frame is read, which may be an
                event that follows it. None: no callback.

        Raises:
            CallFailed: If the gateway refuses it.
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
            # The reader of the connection may not know it yet. A caller that tries again at once
            # must not get this connection again.
            self.lose()
            raise Disconnected("the connection was lost before the answer") from error
        finally:
            del self._waiting[id]
            call.abandon()

    def take(self, reply: Mapping[str, Any]) -> None:
        """Give a reply to the call that waits for it, if there is one."""
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
        """Fail the waiting calls, and every later one."""
        self.lost.set()
        for call in self._waiting.values():
            if not call.answer.done():
                lost = Disconnected("the connection was lost before the answer")
                call.answer.set_exception(lost)


class _Call:
    """A call that waits for its answer."""

    __slots__ = ("answer", "on_result")

    def __init__(self, on_result: OnResult | None) -> None:
        self.on_result = on_result
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def abandon(self) -> None:
        """End the wait; asyncio does not report an error that came all the same."""
        if not self.answer.cancel() and not self.answer.cancelled():
            self.answer.exception()
