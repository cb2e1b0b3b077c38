"""The real clock and real random numbers. Only this module reads them."""

from __future__ import annotations

import asyncio
import os
import random
import time

__all__ = ["RandomIds", "SystemClock"]

# Entropy is asked of the system for so many ids at once: for one alone it would take longer than
# all else about the id. What is left of it is for this process alone.
IDS_AT_ONCE = 64
_BYTES_EACH = 10
_left: list[str] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_left.clear)

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
        chance = _chance()
        variant = _VARIANT[chance[3]]
        return f"{stamp[:8]}-{stamp[8:]}-7{chance[:3]}-{variant}{chance[4:7]}-{chance[7:19]}"

    def random(self) -> float:
        return random.random()


def _chance() -> str:
    """Give the random digits of one id; threads may call it at the same time."""
    while True:
        try:
            return _left.pop()
        except IndexError:
            entropy = os.urandom(_BYTES_EACH * IDS_AT_ONCE)
            begins = range(0, len(entropy), _BYTES_EACH)
            _left.extend(entropy[begin : begin + _BYTES_EACH].hex() for begin in begins)
