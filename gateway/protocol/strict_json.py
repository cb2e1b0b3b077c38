"""
JSON as the gateway accepts it: RFC 8259 without its loopholes (compare RFC 7493, I-JSON).

A value that passes can be stored, encoded again and understood alike by every reader: no NaN or
Infinity, no number beyond 64 bits, no half of a surrogate pair, no name twice in an object, no
nesting that could exhaust a reader's stack.
"""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = ["DEPTH_MAX", "PARAMS_LEVELS", "BadJson", "deeper_than", "parse_json"]

# How many objects and arrays may be inside each other, in what a caller sends or an agent returns.
# No document that a person writes is so deep, and encoders give up at about 250 levels.
DEPTH_MAX = 64
# Levels around a value in an operation's parameters: the parameters, and an object of values by
# name, such as steps. A door that puts more around them adds its own, so that a value which passes
# through one door passes through every other.
PARAMS_LEVELS = 2

_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**63 - 1


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
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError:
            raise BadJson("not UTF-8") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise BadJson(f"not JSON: {error.msg.lower()} at character {error.pos}") from None
    except RecursionError:
        raise BadJson(f"nested deeper than {DEPTH_MAX}") from None
    levels_max = DEPTH_MAX + around
    if text.count("{") + text.count("[") > levels_max and deeper_than(value, levels_max):
        raise BadJson(f"nested deeper than {DEPTH_MAX}")
    # Only an escape can be half a pair: the text itself was valid UTF-8 or a str from it.
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise BadJson("half of a surrogate pair") from None
    return value


def deeper_than(value: Any, depth: int) -> bool:
    """Tell whether objects and arrays in ``value`` nest in more than ``depth`` levels."""
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list | tuple)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return any(isinstance(value, dict | list | tuple) for value in level)


def _integer(digits: str) -> int:
    # Every 64-bit integer has at most 20 characters; longer ones are not converted at all, since
    # that takes time quadratic in their length.
    if len(digits) > 20 or not _INTEGER_MIN <= (number := int(digits)) <= _INTEGER_MAX:
        raise BadJson("an integer beyond 64 bits")
    return number


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise BadJson("a number beyond what a double holds")
    return number


def _constant(name: str) -> Any:
    raise BadJson(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise BadJson("a name twice in one object")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_number,
    parse_constant=_constant,
)
