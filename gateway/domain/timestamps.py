"""Times as they stand in JSON: RFC 3339, UTC, milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["rfc3339", "seconds_of"]


def rfc3339(at: float) -> str:
    """Write ``at``, in seconds since the Unix epoch, as ``2026-11-22T05:04:54.123Z``."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def seconds_of(text: str) -> float:
    """
    Read an RFC 3339 time as seconds since the Unix epoch.

    Raises:
        ValueError: If it is not one.
    """
    return datetime.fromisoformat(text).timestamp()
