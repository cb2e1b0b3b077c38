"""
JSON as the gateway accepts it: RFC 8259 without its loopholes (compare RFC 7493, I-JSON).

A value that passes can be stored, encoded again and understood alike by every reader: no NaN or
Infinity, no number beyond 64 bits, no half of a surrogate pair, no name twice in an object, no
nesting that could exhaust a reader's stack. And it is read in a few milliseconds: a megabyte of
empty arrays would take a tenth of a second, before anybody knows what is asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import jiter

__all__ = [
    "DEPTH_MAX",
    "INTEGER_MAX",
    "INTEGER_MIN",
    "PARAMS_LEVELS",
    "BadJson",
    "deeper_than",
    "leaves",
    "long_numbers",
    "parse_json",
]

# How many objects and arrays may be inside each other, in what a caller sends or an agent returns.
# No document that a person writes is so deep, and encoders give up at about 250 levels.
DEPTH_MAX = 64
# Levels around a value in an operation's parameters: the parameters, and an object of values by
# name, such as steps. A door that puts more around them adds its own, so that a value which passes
# through one door passes through every other.
PARAMS_LEVELS = 2

# A text of this many bytes takes no more than a few milliseconds, whatever it is.
QUICK_BYTES = 64 * 1024
# What a longer one may hold: objects and arrays, names, and values. What stands inside texts is
# counted, too, since telling it apart would take longer than all the rest.
CONTAINERS_MAX, NAMES_MAX, VALUES_MAX = 20_000, 20_000, 100_000

INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1
# Each digit as "0", what may stand before an exponent as "e": only a text in which one of these
# stands may hold a number that is too large, and has to be looked through.
_NUMBERS_SHOWN = bytes(
    ord("0") if 48 <= byte < 58 else ord("e") if chr(byte) in "eE+" else 32 for byte in range(256)
)
_LONG_NUMBER, _EXPONENT = b"0" * 19, b"e000"
_SPACES = b" \t\r\n"
_PLACE = re.compile(r"at line (\d+) column (\d+)$")


class BadJson(ValueError):
    """The text is not JSON as accepted here; the message says why, without quoting the text."""


def parse_json(text: str | bytes, *, around: int = 0) -> Any:
    """
    Parse one JSON text; bytes have to be UTF-8.

    Args:
        around: Levels that stand around what is said, and do not count as its own.

    Raises:
        BadJson: If it is not JSON, or is over a limit of this file.
    """
    encoded = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    levels_max = DEPTH_MAX + around
    containers = encoded.count(b"{") + encoded.count(b"[")
    if len(encoded) > QUICK_BYTES:
        _require_quick(encoded, containers)
    try:
        value = jiter.from_json(
            encoded, allow_inf_nan=False, cache_mode="keys", catch_duplicate_keys=True
        )
    except ValueError as error:
        raise BadJson(_why_not(str(error))) from None
    if containers > levels_max and deeper_than(value, levels_max):
        raise BadJson(f"nested deeper than {DEPTH_MAX}")
    if long_numbers(encoded):
        _require_numbers(value)
    return value


def long_numbers(encoded: bytes) -> bool:
    """Tell whether a text may hold a number that is too large, so that it has to be looked for."""
    shown = encoded.translate(_NUMBERS_SHOWN)
    return _LONG_NUMBER in shown or _EXPONENT in shown


def leaves(value: Any) -> Iterator[Any]:
    """Give everything in ``value`` that is no object, array or tuple."""
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo += item.values()
        elif isinstance(item, list | tuple):
            todo += item
        else:
            yield item


def deeper_than(value: Any, depth: int) -> bool:
    """Tell whether objects and arrays in ``value`` nest in more than ``depth`` levels."""
    level = [value] if isinstance(value, dict | list | tuple) else []
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list | tuple)
        ]
        if not level:
            return False
    return bool(level)


def _require_quick(encoded: bytes, containers: int) -> None:
    # A name is a quote before a colon; one that ends a text with an escape is no name, and counts.
    # Only where there are more colons than that, a look past the spaces is worth its time.
    names = encoded.count(b":")
    if names > NAMES_MAX:
        names = encoded.translate(None, _SPACES).count(b'":')
    for what, count, most in (
        ("opening brackets", containers, CONTAINERS_MAX),
        ("names", names, NAMES_MAX),
        ("commas", encoded.count(b","), VALUES_MAX),
    ):
        if count > most:
            raise BadJson(
                f"over {QUICK_BYTES // 1024} KiB it may hold {most} {what}, those in texts "
                f"included, and holds {count}"
            )


def _why_not(reason: str) -> str:
    place = _PLACE.search(reason)
    where = f" at line {place[1]} column {place[2]}" if place else ""
    if reason.startswith("recursion limit"):
        return f"nested deeper than {DEPTH_MAX}"
    if reason.startswith("Detected duplicate key"):  # the rest quotes the name
        return f"a name twice in one object{where}"
    if reason.startswith("number out of range"):
        return f"an integer beyond 64 bits{where}"
    return f"not JSON: {reason}"


def _require_numbers(value: Any) -> None:
    for item in leaves(value):
        if isinstance(item, int) and not INTEGER_MIN <= item <= INTEGER_MAX:
            raise BadJson("an integer beyond 64 bits")
        if isinstance(item, float) and not math.isfinite(item):
            raise BadJson("a number beyond what a double holds")
