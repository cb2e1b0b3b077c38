"""What callers may ask about events and breakers."""

from __future__ import annotations

from typing import Any

import pytest

from event_schemas import Validator
from gateway.protocol.event_operations import EVENT_OPERATIONS

BY_NAME = {operation.name: operation for operation in EVENT_OPERATIONS}


def taken(name: str, given: dict[str, Any]) -> bool:
    return Validator(dict(BY_NAME[name].params)).is_valid(given)


def test_breakers_are_the_operators_and_events_are_read_and_published() -> None:
    assert {name: operation.scope for name, operation in BY_NAME.items()} == {
        **dict.fromkeys(("breaker.list", "breaker.open", "breaker.close"), "admin"),
        "event.publish": "events:write",
        "event.list": "events:read",
    }


def test_of_a_published_event_only_its_type_is_looked_at_here() -> None:
    """The schema of the type judges the rest."""
    assert taken("event.publish", {"type": "notification", "anything": {"else": 1}})
    assert taken("event.publish", {"type": "x" * 64})
    assert not taken("event.publish", {"type": "x" * 65})
    assert not taken("event.publish", {"type": None})
    assert not taken("event.publish", {"anything": 1})


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"topic": "user:42", "type": "agent_error", "since": "e:7", "limit": 1},
        {"since": "start"},
        {"recipient_id": "42", "channel": "news", "parent_event_id": "e1", "cursor": ""},
    ],
)
def test_events_are_listed_by_topic_type_and_place(given: dict[str, Any]) -> None:
    assert taken("event.list", given)


@pytest.mark.parametrize(
    "given",
    [
        {"topic": "user"},
        {"type": "x" * 65},
        {"since": "begin"},
        {"limit": 501},
        {"topics": ["user:42"]},
    ],
)
def test_other_ways_to_list_events_are_refused(given: dict[str, Any]) -> None:
    assert not taken("event.list", given)


def test_breakers_are_listed_page_by_page() -> None:
    assert taken("breaker.list", {"cursor": "model", "limit": 500})
    assert not taken("breaker.list", {"name": "model"})
    page = {"name": "model", "scope": "upstream", "state": "half_open", "version": 2}
    assert Validator(dict(BY_NAME["breaker.list"].result)).is_valid({"items": [page], "next": None})
