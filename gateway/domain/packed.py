"""
Packed values: JSON that is kept for long and asked for seldom, as its text instead of its objects.

A list of a million empty lists has 3 MB as JSON and 56 MB as Python objects, so what a bound by
bytes counts has to be the text. A text or a number is small as it is.
"""

from __future__ import annotations

import json
import sys
from typing import Any

__all__ = ["Packed", "opened", "packed", "weight_of"]


class Packed:
    """
    An object or array as JSON.

    Attributes:
        json: The text, in UTF-8.
    """

    __slots__ = ("json",)

    def __init__(self, json: bytes) -> None:
        self.json = json

    def __eq__(self, other: object) -> bool:
        """It equals the value that it was, packed or not."""
        return bool(opened(self) == opened(other))

    __hash__ = None  # type: ignore[assignment]  # nor can what it was be hashed


def packed(value: Any) -> Any:
    """Pack an object or array; everything else stays as it is."""
    if not isinstance(value, dict | list):
        return value
    return Packed(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def opened(value: Any) -> Any:
    """Give a value as it was before it was packed; a value that was not is given as it is."""
    return json.loads(value.json) if isinstance(value, Packed) else value


def weight_of(value: Any) -> int:
    """How many bytes of memory a value takes that ``packed`` has given."""
    return sys.getsizeof(value.json if isinstance(value, Packed) else value)
