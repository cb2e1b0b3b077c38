"""
A machine whose clock is set, without rights and packages: ``gateway serve`` with this module.

The process reads from a file (``SET_CLOCK``) how many seconds its system clock is ahead of the real
one; monotonic time is left alone, as a kernel does. ``SetStore`` stands before a NATS server and
does the same to the times that it tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway import Gateway
from tests.scenarios.proxy import CHUNK_BYTES, Direction, Proxy

__all__ = ["SetStore", "gateway"]

gateway = Gateway()

if "SET_CLOCK" in os.environ:
    _file = Path(os.environ["SET_CLOCK"])
    _time, _time_ns = time.time, time.time_ns  # noqa: TID251 - this is the machine

    def _ahead_s() -> int:
        return int(_file.read_text() or 0)

    time.time = lambda: _time() + _ahead_s()  # noqa: TID251 - this is the machine
    time.time_ns = lambda: _time_ns() + _ahead_s() * 10**9

# Both have as many bytes afterwards, so that no length that stands before them is wrong.
_ACK_TIME = re.compile(rb"(\$JS\.ACK(?:\.[^.\s]+){5}\.)(\d{19})(\.\d+)")
_TS = re.compile(rb'("ts":")(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)')


class _Set(Direction):
    """What a server says, its times moved by ``ahead_s``."""

    ahead_s = 0

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = b""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                whole, end, left = (left + data).rpartition(b"\r\n")
                writer.write(self._moved(whole + end))
                await writer.drain()

    def _moved(self, said: bytes) -> bytes:
        if self.ahead_s:
            said = _ACK_TIME.sub(self._ack, said)
            said = _TS.sub(self._ts, said)
        return said

    def _ack(self, found: re.Match[bytes]) -> bytes:
        return found[1] + b"%d" % (int(found[2]) + self.ahead_s * 10**9) + found[3]

    def _ts(self, found: re.Match[bytes]) -> bytes:
        at = datetime.fromisoformat(found[2].decode()).replace(tzinfo=UTC)
        moved = at + timedelta(seconds=self.ahead_s)
        return found[1] + moved.strftime("%Y-%m-%dT%H:%M:%S").encode()


class SetStore(Proxy):
    """The way to a NATS server whose clock is set: assign ``ahead_s``."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self.back = self._set = _Set()

    @property
    def ahead_s(self) -> int:
        """How far the server's clock is ahead, in seconds."""
        return self._set.ahead_s

    @ahead_s.setter
    def ahead_s(self, ahead_s: int) -> None:
        self._set.ahead_s = ahead_s
