"""
Retry hints: how an upstream says when it wants to be asked again.

Every hint comes from outside and may be anything: a hint that cannot be read is ignored, a time
in the past means now, and no delay is longer than ``RETRY_AFTER_MAX_S``.
"""

from __future__ import annotations

import datetime
import email.utils
import math
import re
from collections.abc import Mapping

__all__ = ["RETRY_AFTER_MAX_S", "delay_of", "retry_after", "retry_after_of_limits"]

# One day, in seconds: no task waits longer, whatever the upstream says.
RETRY_AFTER_MAX_S = 86_400.0

# A number in a reset header that is this large is a time in seconds since the Unix epoch, and not
# a delay.
_EPOCH_FROM = 1_000_000_000.0

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(?:\d{1,12}(?:\.\d{1,9})?(?:ms|s|m|h|d)){1,5}")
_PART = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d)")
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,15})?|\.\d{1,15}")

# Of OpenAI, of Anthropic, and of proxies in front of other vendors.
_RESETS = re.compile(
    r"x-ratelimit-reset(-[a-z-]{1,40})?|anthropic-ratelimit-([a-z-]{1,40}-)?reset|ratelimit-reset"
)


def delay_of(value: object) -> float | None:
    """Bound a delay in seconds from outside; None for what is none (negative, NaN, text)."""
    if isinstance(value, datetime.timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not value >= 0:  # NaN compares false
        return None
    if value >= RETRY_AFTER_MAX_S:
        return None if value == math.inf else RETRY_AFTER_MAX_S
    return float(value)


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """
    Read ``retry-after-ms`` and ``retry-after`` (RFC 9110, 10.2.3: seconds or a date).

    Args:
        headers: By lower-case name.
        now: Seconds since the Unix epoch, for dates.

    Returns:
        The delay in seconds; None when neither header gives one.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return delay_of(milliseconds / 1000)
    value = headers.get("retry-after", "").strip()
    seconds = _number(value)
    if seconds is not None:
        return delay_of(seconds)
    return _until(_http_date(value), now=now)


def retry_after_of_limits(headers: Mapping[str, str], *, now: float) -> float | None:
    """
    Read the reset headers of rate limits, which come with every answer, good or bad.

    Of several limits only those with nothing remaining count; where no limit says so, all count.
    The limit that resets last decides, since the upstream would refuse an earlier request.

    Returns:
        The delay in seconds; None when no header gives one.
    """
    exhausted: list[float] = []
    every: list[float] = []
    for name, value in headers.items():
        if not _RESETS.fullmatch(name):
            continue
        delay = _reset_delay(value.strip(), now=now)
        if delay is None:
            continue
        every.append(delay)
        if headers.get(name.replace("reset", "remaining"), "").strip() == "0":
            exhausted.append(delay)
    return max(exhausted or every, default=None)


def _reset_delay(value: str, *, now: float) -> float | None:
    number = _number(value)
    if number is not None:
        return _until(number, now=now) if number >= _EPOCH_FROM else delay_of(number)
    if _DURATION.fullmatch(value):
        return delay_of(sum(float(n) * _UNITS_S[unit] for n, unit in _PART.findall(value)))
    return _until(_rfc3339(value), now=now)


def _number(value: str) -> float | None:
    value = value.strip()
    return float(value) if _NUMBER.fullmatch(value) else None


def _http_date(value: str) -> float | None:
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return _timestamp(date)


def _rfc3339(value: str) -> float | None:
    try:
        date = datetime.datetime.fromisoformat(value)
    except ValueError:
        return None
    return _timestamp(date)


def _timestamp(date: datetime.datetime) -> float:
    # A date without a zone is UTC.
    return (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp()


def _until(moment: float | None, *, now: float) -> float | None:
    return None if moment is None else delay_of(max(0.0, moment - now))
