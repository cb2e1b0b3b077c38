"""Parameters against the table of operations: compiled once, refused with field and remedy."""

from __future__ import annotations

import functools
from typing import Any

from event_schemas import Validator
from gateway.domain.errors import InvalidParams
from gateway.protocol.operations import OPERATIONS, SESSION_PARAMS

__all__ = ["check"]

# The rules that say "unknown" where a field is not in the table.
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


def _properties(name: str) -> list[str]:
    schema = SESSION_PARAMS[name] if name in SESSION_PARAMS else OPERATIONS[name].params
    return list(schema.get("properties", ()))
