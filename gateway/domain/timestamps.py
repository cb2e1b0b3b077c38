"""Times as they stand in JSON: RFC 3339, UTC, milliseconds."""

from __future__ import annotations

import functools
from datetime import UTC, datetime

__all__ = ["rfc3339", "seconds_of"]


def rfc3339(at: float) -> str:
    """Write ``at``, in seconds since the Unix epoch, as ``2026-11-22T05:04:54.123Z``."""
    # To microseconds first: the float of .123 may lie just under it, and would be cut to .122.
    return _to_the_millisecond(round(at * 1e6) // 1000)


# Under load many events have the same millisecond.
@functools.lru_cache(maxsize=256)
def _to_the_millisecond(at: int) -> str:
    second, milliseconds = divmod(at, 1000)
    return f"{_to_the_second(second)}.{milliseconds:03d}Z"


# Most have the same second as the last, and writing it is the slow part.
@functools.lru_cache(maxsize=256)
def _to_the_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def seconds_of(text: str) -> float:
    """
    Read an RFC 3339 time as seconds since the Unix epoch.

    Raises:
        ValueError: If it is not a time.
    """
    return datetime.fromisoformat(text).timestamp()
