"""
The words of a refusal: which field breaks which rule, and what would be allowed.

They go back to the sender of the event, so they show no more of a value than is needed to
recognise it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

from jsonschema.exceptions import ValidationError

__all__ = ["END_OF_TEXT", "Shortened", "Violation", "describe", "field_name", "length_of"]

# How much of a value, or of a sender's own field name, is shown: enough to recognise it.
ECHO_CHARS_MAX = 80

# How the patterns of the schemas end. In Python a mere "$" lets a newline follow, and JavaScript
# has no "\z".
END_OF_TEXT = r"(?![\s\S])"

# Of several rules that one field breaks, the first of these is told: they say most.
RULES_FIRST = ("const", "enum", "type")

# The rules about how much there is, of which both numbers are told.
SIZES = {
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "maxProperties": "at most {} fields",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """
    One field of an event that breaks a rule of its schema.

    Attributes:
        field: The place: ``failure_rate``, ``errors.0.attempt``; a missing field by its name;
            empty for the event as a whole.
        rule: The keyword of JSON Schema that it breaks: ``type``, ``required``, ``enum``, …
        message: What is wrong and what is allowed, lower case, no stop.
    """

    field: str
    rule: str
    message: str


class Shortened(list[object]):
    """
    The first items of a list.

    Attributes:
        whole: How many the list had.
    """

    def __init__(self, kept: Iterable[object], whole: int) -> None:
        super().__init__(kept)
        self.whole = whole


def length_of(value: Any) -> int:
    """Tell how much there is in a value, or was before it was shortened."""
    return value.whole if isinstance(value, Shortened) else len(value)


def describe(errors: Iterable[ValidationError]) -> list[Violation]:
    """Word the errors of ``jsonschema``, one violation per field, the plainest rules first."""
    found = [violation for error in errors for violation in _worded(error)]
    found.sort(key=lambda violation: _rank(violation.rule))
    by_field: dict[str, Violation] = {}
    for violation in found:
        by_field.setdefault(violation.field, violation)
    return list(by_field.values())


def _rank(rule: str) -> int:
    return RULES_FIRST.index(rule) if rule in RULES_FIRST else len(RULES_FIRST)


def _worded(error: ValidationError) -> Iterator[Violation]:
    path = ".".join(map(field_name, error.absolute_path))
    prefix = path and path + "."
    rule = str(error.validator)
    allowed: Any = error.validator_value
    value: Any = error.instance
    schema: Any = error.schema
    if rule == "additionalProperties":
        # For the event itself the files use another keyword; see `validation`.
        rule = rule if path else "unevaluatedProperties"
        for field in value:
            if field not in schema["properties"]:
                yield Violation(prefix + field_name(field), rule, "is not a field known here")
    elif rule == "required":
        # jsonschema gives one error per missing field, and names the field in prose only. So the
        # fields are taken from the schema each time; `describe` drops the repetitions.
        for field in allowed:
            if field not in value:
                yield Violation(prefix + field, rule, "is required")
    elif rule == "dependentRequired":
        for given, needed in allowed.items():
            for field in needed:
                if given in value and field not in value:
                    yield Violation(prefix + field, rule, f"is required together with {given}")
    elif rule == "anyOf" and not all("required" in way for way in allowed):
        forms = [_form(way) for way in allowed]
        yield Violation(path, rule, f"must be {' or '.join(forms)}, is {_shown(value)}")
    elif rule == "anyOf":
        ways = [" and ".join(way["required"]) for way in allowed]
        yield Violation(prefix + allowed[0]["required"][0], rule, f"needs {' or '.join(ways)}")
    elif rule in SIZES:
        what = SIZES[rule].format(allowed)
        yield Violation(path, rule, f"must have {what}, has {length_of(value)}")
    else:
        yield Violation(path, rule, f"{_allowed(rule, allowed)}, is {_shown(value)}")


def _form(way: Any) -> str:
    """Word one of several forms: a constant, or an object with these fields, or a type."""
    if "const" in way:
        return json.dumps(way["const"])
    if "required" in way:
        return f"an object with {' and '.join(way['required'])}"
    return str(way.get("type", "of another form"))


def field_name(step: object) -> str:
    """Show a field's name: a sender may call it anything, even what cannot be encoded."""
    name = str(step).encode(errors="replace").decode()
    return name if len(name) <= ECHO_CHARS_MAX else f"a name of {len(name)} characters"


def _allowed(rule: str, allowed: Any) -> str:
    match rule:
        case "type":
            names = [allowed] if isinstance(allowed, str) else allowed
            return f"must be of type {' or '.join(names)}"
        case "const":
            return f"must be {json.dumps(allowed)}"
        case "enum":
            return f"must be one of {', '.join(map(_bare, allowed))}"
        case "pattern":
            return f"must match {allowed.removesuffix(END_OF_TEXT)}$"
        case "minimum":
            return f"must be at least {allowed}"
        case "maximum":
            return f"must be at most {allowed}"
        case "exclusiveMinimum":
            return f"must be more than {allowed}"
        case "minLength":
            return (
                "must not be empty" if allowed == 1 else f"must have at least {allowed} characters"
            )
        case _:
            return f"must comply with {rule}"


def _bare(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shown(value: object) -> str:
    """
    Show a value in at most ``ECHO_CHARS_MAX`` characters; of a container only its kind.

    A text is shown whole or not at all: half a secret no longer looks like one.
    """
    match value:
        case dict():
            return "an object"
        case list():
            return "an array"
        case str():
            # Escapes take up to six characters each.
            shown = json.dumps(value) if len(value) <= ECHO_CHARS_MAX else ""
            fits = 0 < len(shown) <= ECHO_CHARS_MAX
            return shown if fits else f"a text of {len(value)} characters"
        case None | bool() | int() | float():
            return json.dumps(value)
        case _:
            return f"a Python {type(value).__name__[:ECHO_CHARS_MAX]}"
