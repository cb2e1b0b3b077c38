"""
Values that users, agents and workers give us: may they stand in an event, and how large?

The rule: a value is never altered. What JSON cannot hold exactly (NaN, integers over 64 bits, lone
surrogates, sets, cycles) is refused with the field's name and the kind of what it holds, never
with its content: values may be secret, and errors are logged.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from gateway.domain.errors import InvalidParams, TooLarge
from gateway.protocol.strict_json import (
    DEPTH_MAX,
    INTEGER_MAX,
    INTEGER_MIN,
    deeper_than,
    leaves,
    long_numbers,
)

__all__ = ["EVENT_BYTES_MAX", "RESULT_BYTES_MAX", "measured", "offset_of", "require_size"]

# Encoded as JSON: of a task's result, and of one event as the log holds it.
RESULT_BYTES_MAX = 256 * 1024
EVENT_BYTES_MAX = 256 * 1024

# orjson writes NaN and infinities as null, dates and ids as text; this one refuses them.
_STRICT = json.JSONEncoder(allow_nan=False).encode

# How many values are looked through for the one that JSON does not have.
CULPRIT_LOOKS_MAX = 10_000
# A cursor is an offset, 64 bits with a sign.
CURSOR_DIGITS_MAX = 19


def measured(value: Any, *, field: str, bytes_max: int, around: int = 0) -> bytes:
    """
    Encode ``value`` as JSON.

    Args:
        value: What was given.
        field: Its name, for the error.
        bytes_max: The most bytes that it may have, encoded.
        around: Levels of ``value`` that are ours, around those that were given.

    Returns:
        The JSON.

    Raises:
        InvalidParams: If JSON cannot hold the value exactly, or if it is nested too deeply.
        TooLarge: If it has more than ``bytes_max``.
    """
    try:
        encoded = orjson.dumps(value)
        # Before anything that takes time with a large one.
        require_size(len(encoded), field=field, bytes_max=bytes_max)
        # What comes back as it was is JSON. Of the rest, tuples are; the closer look says no more.
        if orjson.loads(encoded) != value:
            _STRICT(value)
        # orjson takes unsigned integers, too. Few values have a number as long as those.
        if long_numbers(encoded) and _has_too_large_an_integer(value):
            raise ValueError("an integer over 64 bits")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidParams(
            f"{field} cannot be encoded as JSON: it holds {_culprit(value)}; use objects with "
            "text keys, arrays, text, numbers within 64 bits, true, false and null",
            field=field,
        ) from error
    # Brackets may stand in texts, too, so this only spares most values the closer look.
    levels_max = DEPTH_MAX + around
    if encoded.count(b"[") + encoded.count(b"{") > levels_max and deeper_than(value, levels_max):
        raise InvalidParams(f"{field} is nested deeper than {DEPTH_MAX} levels", field=field)
    return encoded


def require_size(size: int, *, field: str, bytes_max: int) -> None:
    """
    Go on only with a value that is small enough.

    Args:
        size: The bytes that it has as JSON.

    Raises:
        TooLarge: If these are more than ``bytes_max``.
    """
    if size > bytes_max:
        raise TooLarge(
            f"{field} has {size} bytes, it may have {bytes_max}; shorten it", field=field
        )


def offset_of(cursor: str | None, *, field: str) -> int | None:
    """
    Read a cursor, which a list gave as ``next`` and which is an offset.

    Args:
        cursor: As it was given; None: from the beginning.
        field: Its name, for the error.

    Raises:
        InvalidParams: If no list gave such a cursor.
    """
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= CURSOR_DIGITS_MAX):
        raise InvalidParams(f"{field} has to be one that a list gave as next", field=field)
    return int(cursor)


def _has_too_large_an_integer(value: Any) -> bool:
    return any(
        isinstance(item, int) and not INTEGER_MIN <= item <= INTEGER_MAX for item in leaves(value)
    )


def _culprit(value: Any) -> str:
    """Name the first thing in ``value`` that JSON does not have, by kind and never by content."""
    todo: list[Any] = [value]
    for _ in range(CULPRIT_LOOKS_MAX):
        if not todo:
            break
        item = todo.pop()
        if isinstance(item, float) and (item != item or item in (float("inf"), -float("inf"))):
            return "a number that is not finite"
        if isinstance(item, int) and not INTEGER_MIN <= item <= INTEGER_MAX:
            return "an integer over 64 bits"
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                return "text with lone surrogates"
        elif isinstance(item, dict):
            if any(not isinstance(key, str) for key in item):
                return "an object with a key that is no text"
            todo += item.values()
        elif isinstance(item, list | tuple):
            todo += item
        elif item is not None and not isinstance(item, bool | int | float):
            return f"a value of type {type(item).__name__}"
    return "a cycle or too many levels"
