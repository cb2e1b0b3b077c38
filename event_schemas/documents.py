"""
The schema files: the list of types, each file as it is, and each as one self-contained schema.

A file refers to ``envelope.json`` and ``failure.json`` beside it. A bundle carries what it
refers to in its own ``$defs``, so that any validator can use it without fetching anything.
"""

from __future__ import annotations

import copy
import functools
import json
from importlib import resources
from typing import Any

__all__ = [
    "BOOKKEEPING_TYPES",
    "FAILURE_TYPES",
    "TYPES",
    "Schema",
    "bundle",
    "document",
    "example",
]

Schema = dict[str, Any]

TYPES: tuple[str, ...] = (
    "agent_error",
    "circuit_breaker_triggered",
    "circuit_breaker_test_request",
    "partial_result_preserved",
    "graceful_degradation",
    "recovery_attempt",
    "resource_cleanup",
    "system_recovered",
    "request_rejected",
    "task_submitted",
    "task_started",
    "task_progress",
    "task_finished",
    "task_waiting",
    "partial_result",
    "task_reassigned",
    "task_dead_lettered",
    "agent_status_changed",
    "lock_expired",
    "notification",
    "agent_registered",
    "lease_changed",
    "lock_changed",
    "mode_changed",
    "dead_letter_changed",
    "audit_recorded",
)

# They are in the log for the gateway's own state; only operators see them.
BOOKKEEPING_TYPES: frozenset[str] = frozenset(
    {
        "agent_registered",
        "lease_changed",
        "lock_changed",
        "mode_changed",
        "dead_letter_changed",
        "audit_recorded",
    }
)

# These carry every failure field, always. agent_status_changed carries all of them or none.
FAILURE_TYPES: frozenset[str] = frozenset(
    {
        "agent_error",
        "circuit_breaker_triggered",
        "circuit_breaker_test_request",
        "partial_result_preserved",
        "graceful_degradation",
        "recovery_attempt",
        "resource_cleanup",
        "system_recovered",
        "request_rejected",
        "task_reassigned",
        "task_dead_lettered",
    }
)

assert set(TYPES) >= BOOKKEEPING_TYPES | FAILURE_TYPES

# The files that the types are composed from. They are no types, but can be asked for.
SHARED = ("envelope", "failure")


def document(name: str) -> Schema:
    """
    Give the file of a type, or of "envelope" or "failure", as it is.

    Each call gives a fresh copy, which the caller may change.

    Raises:
        KeyError: If there is no such type.
    """
    return copy.deepcopy(_document(name))


def bundle(name: str) -> Schema:
    """
    Give the self-contained schema of a type, or of "envelope" or "failure".

    It has no ``$id``, and every reference in it begins with ``#/$defs/``. Each call gives a fresh
    copy, which the caller may change.

    Raises:
        KeyError: If there is no such type.
    """
    return copy.deepcopy(_bundle(name))


def example(name: str) -> dict[str, Any]:
    """
    Give a realistic and valid event of a type, complete as it stands in the log.

    Raises:
        KeyError: If there is no such type.
    """
    event: dict[str, Any] = document(name)["examples"][0]
    return event


@functools.cache
def _document(name: str) -> Schema:
    # Names also come from URLs: only known names become a path.
    if name not in TYPES and name not in SHARED:
        raise KeyError(f"no event type {name[:100]!r}")
    text = resources.files(__package__).joinpath(f"{name}.json").read_bytes()
    schema: Schema = json.loads(text)
    return schema


@functools.cache
def _bundle(name: str) -> Schema:
    definitions: Schema = {}

    def rewritten(node: Any, home: str) -> Any:
        if isinstance(node, list):
            return [rewritten(item, home) for item in node]
        if not isinstance(node, dict):
            return node
        return {
            key: adopted(value, home) if key == "$ref" else rewritten(value, home)
            for key, value in node.items()
        }

    def adopted(reference: str, home: str) -> str:
        """Copy the target into the bundle, once, and give its new address."""
        file, _, pointer = reference.partition("#")
        source = file.removesuffix(".json") or home
        key = pointer.removeprefix("/$defs/") or source
        if key not in definitions:
            document = _document(source)
            definitions[key] = None  # A mark, so that a schema may refer to itself.
            target = document["$defs"][key] if pointer else _core(document)
            definitions[key] = rewritten(target, source)
        return f"#/$defs/{key}"

    root = _document(name)
    # Examples are data: an event may hold a "$ref" of its own.
    schema: Schema = {key: root[key] for key in ("$schema", "title", "description")}
    schema |= rewritten(_core(root), name)
    schema["examples"] = root["examples"]
    if definitions:
        schema["$defs"] = definitions
    return schema


def _core(schema: Schema) -> Schema:
    """Leave out the keywords that are about the file and not about the events."""
    about = ("$schema", "$id", "$defs", "title", "description", "examples")
    return {key: value for key, value in schema.items() if key not in about}
