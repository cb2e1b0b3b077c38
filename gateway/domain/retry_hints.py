"""
Retry hints: how an upstream says when it wants to be asked again.

A delay stands in headers, in attributes, in bodies and what is nested in them, or only in a
sentence. It is a number of seconds or milliseconds from now, a number since the Unix epoch (told
apart by its size), a duration (``6m0s``) or a date. Every hint comes from outside and may be
anything: a hint that cannot be read is ignored, a time in the past means now, and no delay is
longer than ``RETRY_AFTER_MAX_S``.
"""

from __future__ import annotations

import datetime
import email.utils
import math
import re
from collections.abc import Iterable, Mapping

from gateway.domain.evidence import attribute

__all__ = [
    "RETRY_AFTER_MAX_S",
    "delay_of",
    "retry_after",
    "retry_after_of_limits",
    "retry_after_of_parts",
    "retry_after_of_sentence",
    "retry_after_of_value",
    "used_up",
]

# One day, in seconds: no task waits longer, whatever the upstream says.
RETRY_AFTER_MAX_S = 86_400.0

# A number that is this large is a time since the Unix epoch and not a delay, in the unit that
# makes it a date between 2001 and 2286.
_EPOCHS = ((1e18, 1e9), (1e15, 1e6), (1e12, 1e3), (1e9, 1.0))

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNIT = r"(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
_AMOUNT = r"\d{1,12}(?:\.\d{1,12})?"
_DURATION = re.compile(
    rf"(?:{_AMOUNT} ?{_UNIT}(?![a-z])[ ,]{{0,2}}|{_AMOUNT}(?:ms|s|m|h|d)){{1,5}}"
)
_PART = re.compile(rf"({_AMOUNT}) ?({_UNIT})")
_NUMBER = re.compile(r"\d{1,20}(?:\.\d{1,15})?|\.\d{1,15}")

# Of OpenAI, of Anthropic, of proxies in front of other vendors, GitHub, Discord and others.
_RESETS = re.compile(
    r"(?:x-)?(?:app-)?rate-?limit-(?:[a-z-]{1,40}-)?reset(?:-[a-z-]{1,40})?"
    r"|anthropic-ratelimit-(?:[a-z-]{1,40}-)?reset"
)
_REMAINING = re.compile(
    r"(?:(?:x-)?(?:app-)?rate-?limit|anthropic-ratelimit)-(?:[a-z-]{1,40}-)?remaining"
    r"(?:-[a-z-]{1,40})?"
)
# Delays in milliseconds, then in seconds, in the order in which they are believed.
_HEADERS_MS = ("retry-after-ms", "x-ms-retry-after-ms", "x-retry-after-ms")
_HEADERS = ("retry-after", "x-retry-after")

# Names of fields, of bodies and of exceptions, without case and underscores.
_FIELDS_MS = frozenset({"retryafterms", "retryaftermilliseconds", "retrydelayms", "backoffms"})
_FIELDS = frozenset(
    {
        *("retryafter", "retryafterseconds", "retryaftersecs", "retryafters", "retrydelay"),
        *("retryin", "retryinseconds", "secondstowait", "waitseconds", "cooldown"),
        *("cooldownseconds", "resetsinseconds", "resetafter"),
    }
)
_RESET_FIELDS = frozenset({"resetsat", "resetat", "xratelimitreset", "ratelimitreset"})
_FIELD_CHARS_MAX = 40
_NESTED = ("parameters", "metadata", "retryInfo")

_SPOKEN = re.compile(
    r"\b(?:try again|retry|wait|retrying|reset|resets|available)(?: again)?"
    r"(?: in| after| for)? (?:about )?"
    rf"({_AMOUNT} ?{_UNIT}(?![a-z])(?: ?{_AMOUNT} ?{_UNIT}(?![a-z])){{0,3}}"
    rf"|(?:{_AMOUNT}(?:ms|s|m|h|d)){{1,4}}(?![a-z0-9]))"
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


def retry_after_of_value(value: object, *, now: float, unit_s: float = 1.0) -> float | None:
    """
    Read a delay in whatever form it is given.

    Args:
        value: A number, a text, a ``timedelta``, a date, or protobuf's ``Duration``.
        now: Seconds since the Unix epoch, for dates.
        unit_s: The unit of a number that is no date, in seconds.

    Returns:
        The delay in seconds; None when it is none.
    """
    if isinstance(value, str):
        return _of_text(value[:64], now=now, unit_s=unit_s)
    if isinstance(value, datetime.datetime):
        return _until(_timestamp(value), now=now)
    if isinstance(value, datetime.timedelta):
        return delay_of(value)
    if isinstance(value, int | float):
        return _of_number(value, now=now, unit_s=unit_s)
    if isinstance(value, dict):
        seconds, nanos = value.get("seconds"), value.get("nanos", 0)
    else:
        seconds, nanos = attribute(value, "seconds"), attribute(value, "nanos")
    if isinstance(seconds, int | float) and isinstance(nanos, int | float):
        return delay_of(seconds + nanos / 1e9)
    return None


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """
    Read ``retry-after-ms`` and ``retry-after`` (RFC 9110, 10.2.3: seconds or a date).

    Args:
        headers: By lower-case name.
        now: Seconds since the Unix epoch, for dates.

    Returns:
        The delay in seconds; None when neither header gives one.
    """
    for names, unit_s in ((_HEADERS_MS, 0.001), (_HEADERS, 1.0)):
        for name in names:
            if name in headers:
                delay = retry_after_of_value(headers[name], now=now, unit_s=unit_s)
                if delay is not None:
                    return delay
    return None


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
        delay = retry_after_of_value(value, now=now, unit_s=0.001 if name.endswith("-ms") else 1.0)
        if delay is None:
            continue
        every.append(delay)
        remaining = re.sub(r"reset(-after|-ms)?", "remaining", name)
        if headers.get(remaining, "").strip() == "0":
            exhausted.append(delay)
    return max(exhausted or every, default=None)


def used_up(headers: Mapping[str, str]) -> bool:
    """Tell whether a limit says that nothing of it remains."""
    return any(
        value.strip() == "0" and _REMAINING.fullmatch(name) for name, value in headers.items()
    )


def retry_after_of_parts(parts: Iterable[object], *, now: float) -> float | None:
    """
    Read the fields of bodies and exceptions that name a delay, ``google.rpc.RetryInfo`` as well.

    Args:
        parts: Mappings, or messages of protobuf with a ``retry_delay``.
        now: Seconds since the Unix epoch, for dates.
    """
    resets = None
    for part in parts:
        if not isinstance(part, Mapping):
            delay = retry_after_of_value(attribute(part, "retry_delay"), now=now)
            if delay is not None:
                return delay
            continue
        for mapping in (part, *(part.get(name) for name in _NESTED)):
            if not isinstance(mapping, dict):
                continue
            for name, value in list(mapping.items())[:_FIELD_CHARS_MAX]:
                if not isinstance(name, str) or len(name) > _FIELD_CHARS_MAX:
                    continue
                field = name.replace("_", "").replace("-", "").lower()
                if field in _FIELDS_MS or field in _FIELDS:
                    unit_s = 0.001 if field in _FIELDS_MS else 1.0
                    delay = retry_after_of_value(value, now=now, unit_s=unit_s)
                    if delay is not None:
                        return delay
                elif field in _RESET_FIELDS and resets is None:
                    resets = retry_after_of_value(value, now=now)
    return resets


def retry_after_of_sentence(sentence: str, *, now: float) -> float | None:
    """Read a delay from what an upstream says: ``please try again in 1m12.5s``."""
    spoken = _SPOKEN.search(sentence)
    return None if spoken is None else _of_text(spoken[1], now=now, unit_s=1.0)


def _of_text(text: str, *, now: float, unit_s: float) -> float | None:
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return _of_number(float(text), now=now, unit_s=unit_s)
    if _DURATION.fullmatch(text.lower()):
        return delay_of(
            sum(float(number) * _unit_s(unit) for number, unit in _PART.findall(text.lower()))
        )
    moment = _rfc3339(text)
    return _until(_http_date(text) if moment is None else moment, now=now)


def _of_number(number: float, *, now: float, unit_s: float) -> float | None:
    if isinstance(number, bool) or not number >= 0:
        return None
    for least, per_second in _EPOCHS:
        if number >= least:
            far = number == math.inf or number >= 1e21
            return None if far else _until(number / per_second, now=now)
    return delay_of(number * unit_s)


def _unit_s(unit: str) -> float:
    return _UNITS_S["ms" if unit.startswith(("ms", "mill")) else unit[0]]


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
