"""The real clock and real random numbers. Only this module reads them."""

from __future__ import annotations

import asyncio
import os
import random
import time

__all__ = ["RandomIds", "SystemClock"]

# Of a random digit the two lower bits are left, below the bits 10.
_VARIANT = {digit: f"{0b1000 | int(digit, 16) & 0b11:x}" for digit in "0123456789abcdef"}


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
        # RFC 9562, section 5.7: 48 bits of milliseconds, version, 12 random bits, variant, 62
        # random bits. Put together from text: each event and each request has one.
        stamp = f"{time.time_ns() // 1_000_000:012x}"
        chance = os.urandom(10).hex()
        variant = _VARIANT[chance[3]]
        return f"{stamp[:8]}-{stamp[8:]}-7{chance[:3]}-{variant}{chance[4:7]}-{chance[7:19]}"

    def random(self) -> float:
        return random.random()
