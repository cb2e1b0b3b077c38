"""A clock and a sink that a test moves by hand, for readers without sockets."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import orjson

from gateway.app.clock import SystemClock
from gateway.protocol.frames import text_frame

__all__ = ["HandSink", "ManualClock", "settle"]

CLOCK = SystemClock()


async def settle(turns: int = 30) -> None:
    """Let other tasks run for so many turns of the loop."""
    for _ in range(turns):
        await CLOCK.sleep(0)


class ManualClock:
    """Time passes when the test says so; a sleep of zero is one turn of the loop."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await CLOCK.sleep(0)
            return
        there = asyncio.Event()
        self._sleepers.append((self.now + seconds, there))
        await there.wait()

    async def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [at for at, _ in self._sleepers if at <= until]:
            self.now = max(self.now, min(due))
            ready = [there for at, there in self._sleepers if at <= self.now]
            self._sleepers = [(at, there) for at, there in self._sleepers if at > self.now]
            for there in ready:
                there.set()
            await settle()
        self.now = until


class HandSink:
    """Accepts as many bytes as it is told to; everything, unless told otherwise."""

    def __init__(self, accepts: float = math.inf) -> None:
        self.on_writable: Callable[[], None] = lambda: None
        self.on_alive: Callable[[], object] = lambda: None
        self.accepts = accepts
        self.received = b""
        self.writes = 0
        self.aborted = False
        self.closed: int | None = None
        self.most_unsent = 0
        self._waiting = b""
        self._room = 0

    def write(self, data: bytes) -> None:
        if self.aborted or self.closed is not None:
            return
        self.writes += 1
        self._waiting += data
        self._move()
        self.most_unsent = max(self.most_unsent, len(self._waiting))

    def unsent(self) -> int:
        return len(self._waiting)

    def set_room(self, unsent_max: int) -> None:
        self._room = unsent_max

    def take_up_to(self, message_bytes: int) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or code

    def abort(self) -> None:
        self.aborted = True
        self._waiting = b""

    def accept(self, size: float) -> None:
        self.accepts += size
        self._move()
        if len(self._waiting) <= self._room:
            self.on_writable()

    def _move(self) -> None:
        size = int(min(self.accepts, len(self._waiting)))
        self.received += self._waiting[:size]
        self._waiting = self._waiting[size:]
        self.accepts -= size

    def frames(self) -> list[dict[str, Any]]:
        """What arrived whole; a frame that was cut off is not one."""
        return [orjson.loads(payload) for payload in whole_frames(self.received)]

    def offsets(self) -> list[int]:
        return [frame["offset"] for frame in self.frames() if "type" in frame]

    def keep_rest(self) -> None:
        """Drop the whole frames, as a client does that has read them."""
        whole = b"".join(text_frame(payload) for payload in whole_frames(self.received))
        assert self.received.startswith(whole)
        self.received = self.received[len(whole) :]


def whole_frames(data: bytes) -> list[bytes]:
    """Take frames apart up to the first that was cut off."""
    payloads: list[bytes] = []
    at = 0
    while len(data) >= at + 2:
        size, head = data[at + 1], 2
        if size == 126:
            size, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
        if len(data) < at + head + size:
            break
        payloads.append(data[at + head : at + head + size])
        at += head + size
    return payloads
