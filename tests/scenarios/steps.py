"""
Scenarios as data: steps that say what is called and what it has to answer, and nothing of a door.

A scenario is played through some door, and gives an account of its answers and of the events that
it caused. Ids, times and the like differ from one time to the next; in an account they have names
in the order of their appearance, so that two accounts are equal when the same happened.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["Names", "Scenario", "Step", "do", "filled", "fits", "no", "scenario"]

# A part of an earlier answer in the parameters or expectations of a step, by the answer's name.
_EARLIER = re.compile(r"{([\w-]+(?:\.\w+)*)}")


@dataclasses.dataclass(frozen=True)
class Step:
    """
    One call.

    Attributes:
        by: The caller.
        params: A text may hold ``{name.field}``, a part of an answer that was kept before.
        code: The code of its refusal; None: it is done.
        gives: What its answer, or the data of its refusal, has to have among other things; ``...``:
            anything.
        keep: What later steps call its answer; empty: none needs it.
        again: Whether it is called until the answer is as expected.
    """

    operation: str
    by: str
    params: Mapping[str, Any]
    code: str | None = None
    gives: Any = ...
    keep: str = ""
    again: bool = False


@dataclasses.dataclass(frozen=True)
class Scenario:
    """
    A sentence about what can be seen, and the steps that show it.

    Attributes:
        beside: Types of events that come a little after their step; the next one may be faster.
    """

    sentence: str
    steps: tuple[Step, ...]
    beside: tuple[str, ...] = ()


def scenario(sentence: str, *steps: Step, beside: tuple[str, ...] = ()) -> Scenario:
    """Make a scenario."""
    return Scenario(sentence, steps, beside)


def do(
    operation: str,
    /,
    *,
    by: str = "ann",
    keep: str = "",
    gives: Any = ...,
    again: bool = False,
    **params: Any,
) -> Step:
    """Make a step that is done."""
    return Step(operation, by, params, gives=gives, keep=keep, again=again)


def no(code: str, operation: str, /, *, by: str = "ann", gives: Any = ..., **params: Any) -> Step:
    """Make a step that is refused."""
    return Step(operation, by, params, code, gives)


def filled(value: Any, known: Mapping[str, Any]) -> Any:
    """Replace each ``{name.field}`` by that part of an answer."""
    if isinstance(value, Mapping):
        return {name: filled(each, known) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, known) for each in value]
    if not isinstance(value, str):
        return value
    if whole := _EARLIER.fullmatch(value):
        return _part(whole[1], known)
    return _EARLIER.sub(lambda found: str(_part(found[1], known)), value)


def _part(path: str, known: Mapping[str, Any]) -> Any:
    part: Any = known
    for step in path.split("."):
        part = part[int(step)] if isinstance(part, list) else part[step]
    return part


def fits(found: Any, expected: Any) -> bool:
    """Whether an answer has everything that is expected; of objects it may have more."""
    if expected is ...:
        return True
    if isinstance(expected, Mapping):
        return isinstance(found, Mapping) and all(
            name in found and fits(found[name], each) for name, each in expected.items()
        )
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(map(fits, found, expected))
        )
    return bool(found == expected)


class Names:
    """
    Gives the same name to the same thing: to the first id ``<id 1>``, to the second ``<id 2>``.

    Two moments may share a millisecond, so that all times have one name, and lengths of time
    another. What is not known to vary stays as it is.

    Args:
        epoch: Of the gateway's log.
    """

    # Fields with a length of time that is drawn by lot or depends on the moment of the call.
    LENGTHS = frozenset(
        {
            "backoff_delay",
            "duration",
            "estimated_recovery_time",
            "minutes_degraded",
            "recovery_time",
            "retry_after",
        }
    )
    # A time, an id (RFC 9562), a length of time, or a position, as they stand in any text.
    _TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    _ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

    _LENGTH = (
        r"(?:(?<=backoff_delay )|(?<=retry_after ))\d+(?:\.\d+)?"
        r"|in (?:about (?:\d+|an?) (?:second|minute)s?|a moment)"
    )

    def __init__(self, epoch: str) -> None:
        self._names: dict[tuple[str, Any], str] = {}
        self._count: dict[str, int] = {}
        position = rf"{re.escape(epoch)}(?::(?P<offset>\d+))?"
        self._varies = re.compile(
            rf"(?P<time>{self._TIME})|(?P<position>{position})|(?P<id>{self._ID})"
            rf"|(?P<length>{self._LENGTH})"
        )

    def of(self, value: Any, field: str = "") -> Any:
        """Give a copy of a JSON value, the content of ``field``, with names in it."""
        match value:
            case dict():
                # In one order, so that the names do not depend on how a door orders its fields.
                return {name: self.of(value[name], name) for name in sorted(value)}
            case list():
                return [self.of(each, field) for each in value]
            case str() if field == "agent_secret":
                return self._name("secret", value)
            case str() if field == "next" and ("offset", value) in self._names:
                return self._name("offset", value)
            case str():
                return self._varies.sub(self._named, value)
            case int() if field == "offset":
                return self._name("offset", str(value))
            case int() | float() if field in self.LENGTHS and not isinstance(value, bool):
                return "<length>"
        return value

    def _named(self, found: re.Match[str]) -> str:
        if kind := next((kind for kind in ("time", "length") if found[kind]), None):
            return f"<{kind}>"
        if found["id"]:
            return self._name("id", found["id"])
        offset = found["offset"]
        return "<epoch>" + (f":{self._name('offset', offset)}" if offset else "")

    def _name(self, kind: str, value: str) -> str:
        if (kind, value) not in self._names:
            self._count[kind] = self._count.get(kind, 0) + 1
            self._names[kind, value] = f"<{kind} {self._count[kind]}>"
        return self._names[kind, value]

    def text(self, value: Any) -> str:
        """Write a JSON value down with names; unlike ``==``, text tells 1, 1.0 and true apart."""
        return json.dumps(self.of(value), indent=1, ensure_ascii=False)
