"""Events as their publishers give them, made from the examples of the schemas."""

from __future__ import annotations

from typing import Any

from event_schemas import FILLED_IN, example
from event_schemas.publications import BORROWED

__all__ = ["published"]

# The example of its type is the gateway's own, about a breaker.
RECOVERY = {"user_id": "42", "scope": "agent", "degradation_id": None}
# What an example says of a task and an answer, which are not there.
ELSEWHERE = ("task_id", "attempt", "parent_event_id")


def published(type: str) -> dict[str, Any]:
    """Give the example of a type as its publisher would have given it."""
    whole = example(type) | (RECOVERY if type == "system_recovered" else {})
    gone = (*FILLED_IN, *ELSEWHERE, *(BORROWED if type == "notification" else ()))
    return {name: value for name, value in whole.items() if name not in gone}
