"""
Publications: what others than the gateway give of an event; the gateway fills in the rest.

The schemas are made from the files of the types, so that each field is described once. They are
for the door as well as for its description, need no ``$defs``, and refuse what is not known. What
complies with a notification's makes an event that complies, so it is checked once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from event_schemas.documents import Schema, bundle

__all__ = ["BORROWED", "FILLED_IN", "NEEDED", "publication"]

# Fields that the gateway stamps or decides; nobody else gives them.
FILLED_IN = (
    "schema_version",
    "event_id",
    "epoch",
    "offset",
    "timestamp",
    "severity",
    "sender",
    "detail",
    "state",
)

# Fields of others, which would show a notification as a task's, an agent's or a failure's own.
BORROWED = ("task_id", "attempt", "agent_name", "agent_id", "error_id", "message", "domain")

_WHOM = ("user_id", "agent_name")
# The types that others may publish, and what of each nobody but its publisher can know.
NEEDED: dict[str, tuple[str, ...]] = {
    "notification": ("subject", "payload"),
    "agent_error": _WHOM,
    "partial_result": _WHOM,
    "partial_result_preserved": _WHOM,
    "recovery_attempt": _WHOM,
    "resource_cleanup": (*_WHOM, "resources_cleaned"),
    "system_recovered": (*_WHOM, "error_id"),
}

_NONE: Schema = {"type": "null"}
# A report is about a user, under no lease, and goes to no channel.
_REPORT: Schema = {
    "user_id": {"type": "string"},
    "agent_name": {"type": "string", "description": "The agent it is about."},
    "task_id": _NONE,
    "channel": _NONE,
}
# A report may tell people in its own words.
_OWN_WORDS: Schema = {
    "maxLength": 500,
    "description": "A sentence for people, plain text; without it the gateway has one.",
}
_DETAIL: Schema = {
    "type": "object",
    "description": "What operators alone are to see, such as exit code and last lines.",
}
# The gateway itself says when a breaker, a mode or a domain recovers.
_RECOVERY: Schema = {"scope": {"const": "agent"}, "degradation_id": _NONE}


def publication(name: str, *, lease: Mapping[str, Any] | None = None) -> Schema:
    """
    Give the schema of what is published of a type.

    Args:
        lease: The parameters of a report on the publisher's own task, which name it and the lease
            and come before the event's fields; None: it is on no task, or no report.

    Raises:
        KeyError: If only the gateway publishes this type.
    """
    needed = NEEDED[name]
    whole = bundle(name)
    fields: Schema = {}
    for part in (*(whole["$defs"].get(shared) for shared in ("envelope", "failure")), whole):
        for field, schema in part["properties"].items() if part else ():
            # A type narrows what the envelope says, and nobody but the gateway says "*".
            fields[field] = {**fields.get(field, {}), **schema}
    user = {"pattern": fields["recipient_id"]["pattern"], "description": "The user it concerns."}
    only: Schema = {"user_id": user}
    if name != "notification" and lease is None:
        only = {field: {**only.get(field, {}), **schema} for field, schema in _REPORT.items()}
    if name == "system_recovered":
        only |= _RECOVERY
    if "user_message" in fields and lease is None:
        only["user_message"] = _OWN_WORDS
    properties = {
        field: _plain({**schema, **only.get(field, {})}, whole["$defs"])
        for field, schema in fields.items()
        if field not in FILLED_IN and not (name == "notification" and field in BORROWED)
    }
    if name == "agent_error" and lease is None:
        properties["detail"] = _DETAIL
    given: Schema = {
        "title": name,
        "description": whole["description"],
        "type": "object",
        "properties": {**properties, **(lease["properties"] if lease else {})},
        "required": ["type", *(lease["required"] if lease else needed)],
        "additionalProperties": False,
    }
    return given | {rule: whole[rule] for rule in ("anyOf", "dependentRequired") if rule in whole}


def _plain(schema: Schema, definitions: Schema) -> Schema:
    """Put what is referred to into its place; what stands beside it is narrower."""
    plain = {rule: value for rule, value in schema.items() if rule != "$ref"}
    if "$ref" in schema:
        target = definitions[schema["$ref"].removeprefix("#/$defs/")]
        plain = {**_plain(target, definitions), **plain}
    if plain.get("type") == "null":
        plain = {rule: plain[rule] for rule in ("type", "description")}
    return plain
