"""The real clock and real random numbers. Only this module reads them."""

from __future__ import annotations

import asyncio
import os
import random
import time

__all__ = ["RandomIds", "SystemClock"]


class SystemClock:
    """This machine's ``Clock``."""

    def wall(self) -> float:
        return time.time()  # noqa: TID251 - this is the Clock

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251 - this is the Clock

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 - this is the Clock


class RandomIds:
    """An ``IdSource`` from this machine's time and entropy."""

    def uuid7(self) -> str:
        # RFC 9562, section 5.7: 48 bits of milliseconds, version, variant, 74 random bits.
        milliseconds = time.time_ns() // 1_000_000
        chance = int.from_bytes(os.urandom(10), "big")
        number = milliseconds << 80 | 0x7 << 76 | (chance >> 68 & 0xFFF) << 64
        number |= 0b10 << 62 | chance & 0x3FFFFFFFFFFFFFFF
        digits = f"{number:032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def random(self) -> float:
        return random.random()
