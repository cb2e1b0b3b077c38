"""
The JSON form of what an agent returns, yields or preserves.

The rule: finished work is not thrown away for its type. What JSON has goes through unchanged; what
has an obvious form there gets it; of the rest its ``repr`` is kept, with a mark. Only size refuses.
No library is imported: a model of pydantic and a number of numpy are known by what they can do.
"""

from __future__ import annotations

import base64
import collections
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import math
import os
import pathlib
import uuid
from collections.abc import Callable, Collection, Mapping, Set
from typing import Any

import orjson

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import TooLarge
from gateway.protocol.strict_json import DEPTH_MAX, INTEGER_MAX, INTEGER_MIN, long_numbers

__all__ = ["as_json", "whole_text"]

logger = logger_of(__name__)

# Of what has no form in JSON so much is kept of its repr, and of its type's name.
REPR_CHARS_MAX, TYPE_CHARS_MAX = 1000, 200
# An item of an array takes two bytes at least, with its comma.
ITEM_BYTES = 2
# An array of numbers takes as many bytes in memory for each that it takes in JSON, at the most.
NUMBER_BYTES_MAX = 16

Form = Callable[[Any], Any]


def as_json(value: Any, *, field: str, bytes_max: int, about: str) -> Any:
    """
    Give the JSON form of a value, as a copy.

    Args:
        field: The value's name, for the error and the log.
        bytes_max: The most bytes that it may have, encoded; only what is far over it is refused
            here, before it is walked through.
        about: Whose it is, for the log.

    Raises:
        TooLarge: If it could never have as few bytes.
    """
    plain = _unchanged(value)
    if plain is not None:
        return plain[0]
    walk = _Walk(field, bytes_max)
    form = walk.form(value, 1)
    if walk.marked:
        logger.warning(
            "%s: %s holds what has no form in JSON, its repr is kept: %s",
            about,
            field,
            ", ".join(sorted(walk.marked)),
        )
    return form


def whole_text(text: str) -> str:
    """Give a text that UTF-8 can hold: pairs of surrogates are joined, a half becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return str(text)


def _unchanged(value: Any) -> tuple[Any] | None:
    """Give a copy of what is JSON as it is; None: it is not, or has to be looked at closer."""
    try:
        encoded = orjson.dumps(value)
        copy = orjson.loads(encoded)
        if copy != value or long_numbers(encoded):
            return None
    except Exception:  # noqa: BLE001 - objects of agents may raise anything when they are compared
        return None
    return (copy,) if encoded.count(b"[") + encoded.count(b"{") <= DEPTH_MAX else None


def _moment(value: Any) -> str:
    text: str = value.isoformat()
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def _float(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _integer(value: int) -> int | str:
    # Beyond 64 bits readers would round it.
    return int(value) if INTEGER_MIN <= value <= INTEGER_MAX else str(int(value))


_LEAVES: tuple[tuple[Any, Form], ...] = (
    (bool, bool),
    (int, _integer),
    (float, _float),
    (str, whole_text),
    (datetime.timedelta, lambda value: value.total_seconds()),
    ((datetime.datetime, datetime.date, datetime.time), _moment),
    ((uuid.UUID, decimal.Decimal, fractions.Fraction), str),
    (
        (
            ipaddress.IPv4Address,
            ipaddress.IPv6Address,
            ipaddress.IPv4Network,
            ipaddress.IPv6Network,
        ),
        str,
    ),
    (pathlib.PurePath, lambda value: whole_text(os.fspath(value))),
)
_ARRAYS = (list, tuple, Set, collections.deque, range, collections.abc.ValuesView)


class _Walk:
    """
    One walk through a value.

    Attributes:
        marked: The types of which only the repr is kept.
    """

    def __init__(self, field: str, bytes_max: int) -> None:
        self._field = field
        self._bytes_max = bytes_max
        self._left = bytes_max // ITEM_BYTES
        self._inside: set[int] = set()
        self.marked: set[str] = set()

    def form(self, value: Any, level: int) -> Any:
        """Give the form of a value that is ``level`` levels deep, from 1."""
        self._left -= 1
        if self._left < 0:
            raise self._too_large()
        if value is None:
            return None
        try:
            return self._form(value, level)
        except TooLarge:
            raise
        except Exception:  # noqa: BLE001 - whatever an object of the agent's raises, its work is kept
            return self._mark(value)

    def _form(self, value: Any, level: int) -> Any:
        if isinstance(value, enum.Enum):
            return self.form(value.value, level)
        for types, form in _LEAVES:
            if isinstance(value, types):
                return form(value)
        if isinstance(value, bytes | bytearray | memoryview):
            self._require_room(memoryview(value).nbytes)
            return base64.b64encode(value).decode()
        if level >= DEPTH_MAX or id(value) in self._inside:
            return self._mark(value)
        self._inside.add(id(value))
        try:
            return self._container(value, level)
        finally:
            self._inside.discard(id(value))

    def _container(self, value: Any, level: int) -> Any:
        if isinstance(value, Mapping):
            return self._object(value, level)
        if isinstance(value, _ARRAYS):
            return self._array(value, level)
        inner = _opened(value, self._require_room)
        return self._mark(value) if inner is None else self.form(inner[0], level)

    def _array(self, value: Collection[Any], level: int) -> list[Any]:
        self._require_room(len(value) * ITEM_BYTES)
        items = [self.form(item, level + 1) for item in value]
        if isinstance(value, set | frozenset):
            # A set has no order; the same one should look the same each time.
            items.sort(key=lambda item: (type(item).__name__, orjson.dumps(item)))
        return items

    def _object(self, value: Mapping[Any, Any], level: int) -> dict[str, Any]:
        self._require_room(len(value) * ITEM_BYTES)
        told: dict[str, Any] = {}
        for key, item in value.items():
            name = self._name(key)
            if name in told:
                name = f"{name} ({type(key).__name__})"
            told[name] = self.form(item, level + 1)
        return told

    def _name(self, key: Any) -> str:
        if isinstance(key, str) and not isinstance(key, enum.Enum):
            return whole_text(key)
        form = self.form(key, DEPTH_MAX - 1)
        return form if isinstance(form, str) else orjson.dumps(form).decode()

    def _mark(self, value: Any) -> dict[str, str]:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"[:TYPE_CHARS_MAX]
        self.marked.add(kind)
        try:
            shown = repr(value)[:REPR_CHARS_MAX]
        except Exception:  # noqa: BLE001 - see above; the type is known at least
            shown = f"<{kind}>"
        return {"unencodable": whole_text(kind), "repr": whole_text(shown)}

    def _require_room(self, size: int) -> None:
        if size > self._bytes_max:
            raise self._too_large()

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"{self._field} has more than the {self._bytes_max} bytes that it may have; shorten it",
            field=self._field,
        )


def _opened(value: Any, require_room: Callable[[int], None]) -> tuple[Any] | None:
    """Give what is in an object that describes itself; None: it does not."""
    kind = type(value)
    if isinstance(value, type):
        return None
    if callable(getattr(kind, "model_dump", None)):  # pydantic 2
        try:
            return (value.model_dump(mode="json"),)
        except Exception:  # noqa: BLE001 - a member that it has no form for, which we may have
            return (value.model_dump(),)
    if hasattr(kind, "__fields__") and callable(getattr(kind, "dict", None)):  # pydantic 1
        return (value.dict(),)
    if dataclasses.is_dataclass(value):
        return ({field.name: getattr(value, field.name) for field in dataclasses.fields(value)},)
    if (fields := getattr(kind, "__attrs_attrs__", None)) is not None:  # attrs
        return ({field.name: getattr(value, field.name) for field in fields},)
    if (names := getattr(kind, "__struct_fields__", None)) is not None:  # msgspec
        return ({name: getattr(value, name) for name in names},)
    if hasattr(kind, "tolist") and hasattr(value, "dtype"):  # numpy, torch
        require_room(int(getattr(value, "nbytes", 0)) // NUMBER_BYTES_MAX)
        return (value.tolist(),)
    return None
