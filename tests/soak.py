"""Whether the tests run with their full counts and times, as in ``make soak``."""

from __future__ import annotations

import os

__all__ = ["SOAK", "times"]

SOAK = os.environ.get("GATEWAY_SOAK") == "1"


def times(scaled: int, full: int) -> int:
    """How often: scaled down, or in full in `make soak`."""
    return full if SOAK else scaled
