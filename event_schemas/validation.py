"""
Validation: a fast yes or no for the write path, and the words of a refusal.

``jsonschema_rs`` decides, compiled once per type. ``jsonschema`` is the second opinion and says
which field breaks which rule. The two have to agree on every event (decision 2), so both get the
same bundle, and where the libraries differ the code below teaches the second the first one's
view.

What a schema leaves open ("any JSON", free text) is not looked into: NaN inside a result or a
lone surrogate in a text is found when the event is encoded.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Container, Iterator, Mapping
from typing import Any

import jsonschema
import jsonschema_rs
from jsonschema import TypeChecker, ValidationError

from event_schemas.documents import Schema, bundle
from event_schemas.violations import END_OF_TEXT, Shortened, Violation, describe, length_of

__all__ = ["Validator", "validator"]

# The schemas look four levels deep (event, errors, one error, its field). What lies deeper is
# "any JSON" to them, and deep or circular data must not exhaust the stack.
DEPTH_MAX = 5
# The second opinion takes microseconds for each value. Of what has more than so many, it sees the
# first items of each list and the fields that the schemas name, and of its errors the first.
VALUES_MAX = 2_000
ITEMS_KEPT, UNKNOWN_KEPT, ERRORS_KEPT = 8, 8, 100
# To the schemas all integers beyond 64 bits are alike, and Python refuses to print long ones.
INTEGER_MAX = 2**64
# jsonschema_rs 0.60 reads an integer as text, which Python refuses beyond 4300 digits; the integer
# then counts as 0. The gateway's JSON parser lets none through, but an agent in Python may make
# one.
DIGITS_END = 10**4300

_NO_JSON = "must consist of plain JSON values only"

# The fields that an event gets when the log accepts it.
STAMPED = ("epoch", "offset", "timestamp")


class Validator:
    """
    The compiled schema of one type; safe to share between threads.

    Neither method raises, whatever the event is.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = closed = _closed(schema)
        self._fast = _compiled(closed)
        self._slow = _SecondOpinion(closed)
        self._names = frozenset(_names(closed))

    def is_valid(self, event: object) -> bool:
        """Tell whether the event complies, in microseconds."""
        try:
            return self._fast.is_valid(event) and not _has_endless_integer(event)
        # Not JSON at all: keys that are no strings, lone surrogates, Python objects.
        except (ValueError, TypeError, RecursionError):
            return False

    def violations(self, event: object, limit: int = 10) -> list[Violation]:
        """
        Say what is wrong, at most one violation per field; takes milliseconds.

        The list is empty exactly if the event complies, unless ``limit`` is 0. Of a huge event it
        may name the field only.
        """
        huge = _has_more_than(VALUES_MAX, event)
        seen = _pruned(event, DEPTH_MAX, self._names if huge else None)
        errors = itertools.islice(self._slow.iter_errors(seen), ERRORS_KEPT)
        found = describe(errors)
        if not found and not self.is_valid(event):
            field = self._field_at_fault(event) if huge else ""
            said = f"must comply with the schema of {field}" if field else _NO_JSON
            found = [Violation(field, "type", said)]
        return found[:limit]

    def _field_at_fault(self, event: object) -> str:
        """Find the field that does not comply for itself; empty: there is none."""
        fields = self._schema.get("properties", {})
        for name in event if isinstance(event, dict) else ():
            alone = {"properties": {name: fields.get(name, True)}}
            if not _compiled(alone | {"$defs": self._schema.get("$defs", {})}).is_valid(event):
                return str(name)
        return ""


@functools.cache
def validator(name: str, *, stamped: bool = True) -> Validator:
    """
    Give the validator of a type; it is compiled at the first call and then shared.

    Args:
        name: A type, or "envelope" or "failure".
        stamped: False for an event that the log has not accepted yet: epoch, offset and
            timestamp may then be absent. Where they are present they must comply.

    Raises:
        KeyError: If there is no such type.
    """
    schema = bundle(name)
    if not stamped:
        envelope = schema if name == "envelope" else schema["$defs"].get("envelope", {})
        required = envelope.get("required", [])
        envelope["required"] = [field for field in required if field not in STAMPED]
    return Validator(schema)


def _closed(schema: Schema) -> Schema:
    """
    List all known fields, and refuse others by ``additionalProperties``.

    It means the same as ``unevaluatedProperties``, since no type has a field that is known only
    in some of its events. Measured, jsonschema_rs takes 4 to 9 µs an event instead of 5 to 19;
    and jsonschema, which has to find out what was evaluated, would name every field of a part
    that failed.
    """
    if "unevaluatedProperties" not in schema:
        return schema
    closed = {key: value for key, value in schema.items() if key != "unevaluatedProperties"}
    fields = _known_fields(schema, schema["$defs"])
    closed["properties"] = dict.fromkeys(fields, True) | schema["properties"]
    closed["additionalProperties"] = False
    return closed


def _compiled(schema: Schema) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(
        _with_plain_ends(schema), pattern_options=jsonschema_rs.RegexOptions()
    )


def _with_plain_ends(node: Any) -> Any:
    """End patterns with "$", with which jsonschema_rs is fastest; its "$" is the very end."""
    if isinstance(node, list):
        return [_with_plain_ends(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: value.replace(END_OF_TEXT, "$")
        if key == "pattern" and isinstance(value, str)
        else _with_plain_ends(value)
        for key, value in node.items()
        if key != "examples"
    }


def _has_endless_integer(event: object) -> bool:
    if isinstance(event, dict):
        for value in event.values():
            if type(value) is int and not -DIGITS_END < value < DIGITS_END:
                return True
    return False


def _is_number(_: TypeChecker, value: object) -> bool:
    # NaN and infinities are no JSON (RFC 8259, 6); jsonschema lets NaN pass every bound.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_array(_: TypeChecker, value: object) -> bool:
    return isinstance(value, list | tuple)


def _max_items(_: object, most: int, value: object, __: object) -> Iterator[ValidationError]:
    if isinstance(value, list | tuple) and length_of(value) > most:
        yield ValidationError("too long")


_SecondOpinion = jsonschema.validators.extend(  # type: ignore[no-untyped-call] # not annotated there
    jsonschema.Draft202012Validator,
    validators={"maxItems": _max_items},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"number": _is_number, "array": _is_array}
    ),
)


def _has_more_than(most: int, value: object) -> bool:
    """Tell whether there are more than ``most`` values inside ``value``."""
    todo, count = [value], 0
    while todo and count <= most:
        item = todo.pop()
        if isinstance(item, dict | list | tuple):
            count += len(item)
            todo.extend(item.values() if isinstance(item, dict) else item)
    return count > most


def _pruned(value: object, depth: int, names: Container[object] | None) -> object:
    """
    Copy what the schemas look at; deeper containers become empty, giant integers capped.

    Args:
        names: The fields that are kept of an object, beside a few, and lists are shortened; None:
            all is kept.
    """
    if isinstance(value, dict):
        fields = value if names is None else _fields_of(value, names)
        return {k: _pruned(value[k], depth - 1, names) for k in fields} if depth else {}
    if isinstance(value, list | tuple):
        if not depth:
            return []
        if names is None:
            return [_pruned(v, depth - 1, None) for v in value]
        kept = [_pruned(v, depth - 1, names) for v in value[:ITEMS_KEPT]]
        return Shortened(kept, len(value))
    if isinstance(value, int) and abs(value) > INTEGER_MAX:
        return INTEGER_MAX if value > 0 else -INTEGER_MAX
    return value


def _fields_of(value: Mapping[object, object], names: Container[object]) -> list[object]:
    unknown = itertools.islice((k for k in value if k not in names), UNKNOWN_KEPT)
    return [*(k for k in value if k in names), *unknown]


def _names(node: object) -> Iterator[str]:
    """List every field that a schema names, at any level."""
    if isinstance(node, dict):
        yield from node.get("properties", ())
        for inner in node.values():
            yield from _names(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _names(inner)


def _known_fields(schema: Schema, definitions: Schema) -> Iterator[str]:
    """Collect the fields that any part of a schema names."""
    yield from schema.get("properties", ())
    if "$ref" in schema:
        target = schema["$ref"].removeprefix("#/$defs/")
        yield from _known_fields(definitions[target], definitions)
    parts = [*schema.get("allOf", ()), *schema.get("anyOf", ())]
    parts += [schema[keyword] for keyword in ("then", "else") if keyword in schema]
    for part in parts:
        yield from _known_fields(part, definitions)
