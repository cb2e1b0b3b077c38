"""
Scenarios of refusals, made from the table of operations: what is wrong in a call, for each
operation and parameter that there is, and who may not make it. None of them changes anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from gateway.protocol.operations import HEADER_PARAMS, OPERATIONS, Operation
from tests.scenarios.steps import Scenario, Step, no

__all__ = ["CALLERS_WITHOUT", "REFUSALS"]

# What an operation's parameters may be, so that a call is wrong in one thing only. None of the
# things that they name exists.
SOUND: Mapping[str, Any] = {
    "agent_id": "nobody",
    "agent_secret": "a secret",
    "handle": "nobody",
    "holder": "nobody",
    "lock_id": "none",
    "message": "it broke",
    "mode": "normal",
    "name": "none",
    "resource_key": "none",
    "task_id": "none",
    "term": 1,
    "type": "notification",
    "user_id": "nobody",
}

# Values of which a schema refuses some: of each kind the first that it refuses is tried. Queries,
# paths and headers can say texts and numbers only.
NULL, OTHER = (None,), (list[Any](), {"a": 1}, True)
TEXTS = ("a b", "", "x" * 300)
NUMBERS_TOO_SMALL, NUMBERS_TOO_LARGE = (-1, 0), (10**18,)

READS = "events:read events:read:all"
# For each scope a caller that has all others, but for those that do as well.
CALLERS_WITHOUT: Mapping[str, str] = {
    "without events:read": "events:write agent",
    "without events:read:all": "events:read events:write tasks:write agent",
    "without events:write": f"{READS} tasks:write",
    "without tasks:write": f"{READS} events:write agent",
    "without agent": f"{READS} events:write tasks:write",
    "without admin": f"{READS} events:write tasks:write agent",
}


def sound(operation: Operation) -> dict[str, Any]:
    return {name: SOUND[name] for name in operation.params["required"]}


def wrong(field: str, operation: Operation, params: Mapping[str, Any]) -> Step:
    gives = {"field": field}
    return no("invalid_params", operation.name, by="operator", gives=gives, **params)


def unknown_parameters() -> Iterator[Step]:
    for operation in OPERATIONS.values():
        if operation.params.get("additionalProperties") is False:
            yield wrong("surprise", operation, sound(operation) | {"surprise": "1"})


def missing_parameters() -> Iterator[Step]:
    """Without a part of its path an address would be another one."""
    for operation in OPERATIONS.values():
        for name in operation.params["required"]:
            if f"{{{name}}}" not in operation.path:
                rest = {other: value for other, value in sound(operation).items() if other != name}
                yield wrong(name, operation, rest)


def wrong_values() -> Iterator[Step]:
    """Each schema of a parameter once for each place where it may stand over HTTP."""
    seen = set()
    for operation in OPERATIONS.values():
        for name, schema in operation.params["properties"].items():
            place = place_of(name, operation)
            kind = place, json.dumps(schema, sort_keys=True)
            if kind not in seen:
                seen.add(kind)
                for value in wrong_for(schema, place):
                    yield wrong(name, operation, sound(operation) | {name: value})


def place_of(name: str, operation: Operation) -> str:
    if f"{{{name}}}" in operation.path or f"{{{name}}}" in (operation.also_at or ""):
        return "path"
    if operation.method in ("POST", "PUT"):
        return "body"
    return "header" if name in HEADER_PARAMS.values() else "query"


def wrong_for(schema: Mapping[str, Any], place: str) -> Iterator[Any]:
    numeric = schema.get("type") in ("integer", "number")
    kinds: list[tuple[Any, ...]] = [NULL, OTHER] if place == "body" else []
    kinds += [NUMBERS_TOO_SMALL, NUMBERS_TOO_LARGE, ("ten",)] if numeric else [TEXTS]
    validator = Draft202012Validator(schema)
    for kind in kinds:
        yield from [value for value in kind if not validator.is_valid(value)][:1]


def unknown_things() -> Iterator[Step]:
    """An operator needs no secret, so that each thing is looked for."""
    for operation in OPERATIONS.values():
        if "agent_secret" in operation.params["properties"]:
            if "agent_id" in operation.params["required"]:
                yield not_there("agent_id", operation)
        elif ids := [
            name for name in ("task_id", "lock_id", "agent_id") if name in sound(operation)
        ]:
            yield not_there(ids[0], operation)


def not_there(field: str, operation: Operation) -> Step:
    gives = {"field": field}
    return no("not_found", operation.name, by="operator", gives=gives, **sound(operation))


def without_rights() -> Iterator[Step]:
    """With a parameter that there is not: rights are looked at before parameters."""
    for operation in OPERATIONS.values():
        by = f"without {operation.scope}"
        yield no("not_permitted", operation.name, by=by, **sound(operation), surprise="1")


REFUSALS: tuple[Scenario, ...] = (
    Scenario("an unknown parameter is refused by its name", tuple(unknown_parameters())),
    Scenario("a missing parameter is refused by its name", tuple(missing_parameters())),
    Scenario("a value that cannot be is refused with its rule", tuple(wrong_values())),
    Scenario("what does not exist is not found", tuple(unknown_things())),
    Scenario("an operation is refused to who has every right but its own", tuple(without_rights())),
)
