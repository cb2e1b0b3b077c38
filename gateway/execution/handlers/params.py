"""
Parameters: checked against the table of operations before any handler sees them; pages of lists.

Each schema is compiled once. Parameters that do not comply are refused with field, rule and remedy.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from event_schemas import Validator, publication
from gateway.domain.access import Caller
from gateway.domain.errors import InvalidParams
from gateway.protocol.operations import OPERATIONS, SESSION_PARAMS
from gateway.values import offset_of

__all__ = [
    "LIST_LIMIT",
    "PAGE_BYTES_MAX",
    "Handler",
    "Page",
    "Params",
    "check",
    "check_report",
    "page",
]

Params = Mapping[str, Any]
Handler = Callable[[Params, Caller], Awaitable[Any]]

# How many items a page of a list has, unless ``limit`` says otherwise.
LIST_LIMIT = 100
# How many bytes of JSON the items of a page have at the most, unless the first has more.
PAGE_BYTES_MAX = 2**20

Item = TypeVar("Item")

# The rules that a field breaks which the table does not have (JSON Schema 2020-12).
UNKNOWN_RULES = ("additionalProperties", "unevaluatedProperties")


@functools.cache
def _validator(name: str) -> tuple[Validator, Iterable[str]]:
    schema = SESSION_PARAMS[name] if name in SESSION_PARAMS else OPERATIONS[name].params
    return Validator(dict(schema)), tuple(schema.get("properties", ()))


def check(name: str, params: Any) -> None:
    """
    Check the parameters of an operation or of a session's method.

    Raises:
        InvalidParams: With the field, the rule and what is allowed.
        KeyError: If there is no such operation.
    """
    validator, properties = _validator(name)
    _require(validator, name, params, properties)


def check_report(report: Params) -> None:
    """
    Check what a worker publishes about its own task: parameters of an operation, and an event.

    Raises:
        InvalidParams: With the field, the rule and what is allowed.
        KeyError: If events of its type are on no task.
    """
    validator, properties = _report(report["type"])
    _require(validator, report["type"], report, properties)


def _require(validator: Validator, name: str, params: Params, properties: Iterable[str]) -> None:
    if validator.is_valid(params):
        return
    violation = validator.violations(params, limit=1)[0]
    field = violation.field or None
    if violation.rule in UNKNOWN_RULES:
        known = ", ".join(sorted(properties)) or "none"
        message = f"{name} has no parameter {field}; it takes: {known}"
    else:
        message = f"{name}: {field or 'the parameters'}: {violation.message} ({violation.rule})"
    raise InvalidParams(message, field=field)


@functools.cache
def _report(type: str) -> tuple[Validator, Iterable[str]]:
    lease = OPERATIONS["event.publish"].events[type]
    if lease is None:
        raise KeyError(type)
    schema = publication(type, lease=lease)
    return Validator(schema), schema["properties"]


class Page:
    """
    One page of a list, as it is filled: up to ``limit`` items, or ``PAGE_BYTES_MAX``.

    Attributes:
        items: Those that it has.
        full: Whether it has ``limit`` items; then the next page begins with what comes next, which
            need not be made to be offered.
    """

    def __init__(self, params: Params) -> None:
        self.items: list[Any] = []
        self.full = False
        self._limit: int = params.get("limit", LIST_LIMIT)
        self._bytes = 0

    def takes(self, item: Any, *, size: int | None = None) -> bool:
        """
        Add an item, unless the page is full; then the next page begins with it.

        Args:
            size: Its bytes as JSON, or more: what seems too much is measured; None: to be measured.
        """
        if self.full:
            return False
        self._bytes += (len(orjson.dumps(item)) if size is None else size) + 1
        if self.items and self._bytes > PAGE_BYTES_MAX:
            self._bytes = len(orjson.dumps([*self.items, item]))
            if self._bytes > PAGE_BYTES_MAX:
                return False
        self.items.append(item)
        self.full = len(self.items) == self._limit
        return True


def page(
    items: Sequence[Item], params: Params, view: Callable[[Item], Any] = lambda item: item
) -> dict[str, Any]:
    """
    Give the page of a list that ``cursor`` and ``limit`` ask for.

    Args:
        items: All of the list.
        view: Gives an item as it stands on the wire; called for those of the page.

    Raises:
        InvalidParams: If no list gave that cursor.
    """
    start = offset_of(params.get("cursor"), field="cursor") or 0
    shown = Page(params)
    for place in range(start, len(items)):
        if shown.full or not shown.takes(view(items[place])):
            return {"items": shown.items, "next": str(place)}
    return {"items": shown.items, "next": None}
