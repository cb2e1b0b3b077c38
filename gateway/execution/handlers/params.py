"""
Parameters: checked against the table of operations before any handler sees them; pages of lists.

Each schema is compiled once. Parameters that do not comply are refused with field, rule and remedy.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from event_schemas import Validator
from gateway.domain.access import Caller
from gateway.domain.errors import InvalidParams
from gateway.protocol.operations import OPERATIONS, SESSION_PARAMS
from gateway.values import offset_of

__all__ = ["LIST_LIMIT", "Handler", "Params", "check", "page"]

Params = Mapping[str, Any]
Handler = Callable[[Params, Caller], Awaitable[Any]]

# How many items a page of a list has, unless ``limit`` says otherwise.
LIST_LIMIT = 100

# The rules that a field breaks which the table does not have (JSON Schema 2020-12).
UNKNOWN_RULES = ("additionalProperties", "unevaluatedProperties")


@functools.cache
def _validator(name: str) -> Validator:
    schema = SESSION_PARAMS[name] if name in SESSION_PARAMS else OPERATIONS[name].params
    return Validator(dict(schema))


def check(name: str, params: Any) -> None:
    """
    Check the parameters of an operation or of a session's method.

    Raises:
        InvalidParams: With the field, the rule and what is allowed.
        KeyError: If there is no such operation.
    """
    validator = _validator(name)
    if validator.is_valid(params):
        return
    violation = validator.violations(params, limit=1)[0]
    field = violation.field or None
    if violation.rule in UNKNOWN_RULES:
        known = ", ".join(sorted(_properties(name))) or "none"
        message = f"{name} has no parameter {field}; it takes: {known}"
    else:
        message = f"{name}: {field or 'the parameters'}: {violation.message} ({violation.rule})"
    raise InvalidParams(message, field=field)


def page(items: Sequence[Any], params: Params) -> dict[str, Any]:
    """
    Give the page of a list that ``cursor`` and ``limit`` ask for.

    Raises:
        InvalidParams: If no list gave that cursor.
    """
    start = offset_of(params.get("cursor"), field="cursor") or 0
    end = start + params.get("limit", LIST_LIMIT)
    return {"items": list(items[start:end]), "next": str(end) if end < len(items) else None}


def _properties(name: str) -> list[str]:
    schema = SESSION_PARAMS[name] if name in SESSION_PARAMS else OPERATIONS[name].params
    return list(schema.get("properties", ()))
