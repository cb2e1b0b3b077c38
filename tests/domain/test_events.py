"""What each kind of event is for, and which topics an event belongs to."""

from __future__ import annotations

from typing import Any

import pytest

import event_schemas
from gateway.domain.events import (
    BOOKKEEPING,
    LIFECYCLE,
    PUBLISHABLE_BY_AGENTS,
    SEVERITIES,
    listening,
    topics_of,
)


def test_every_type_is_bookkeeping_the_gateways_own_an_agents_or_a_notification() -> None:
    kinds = (BOOKKEEPING, LIFECYCLE, PUBLISHABLE_BY_AGENTS, {"notification"})
    assert set().union(*kinds) == set(event_schemas.TYPES)
    assert sum(map(len, kinds)) == len(event_schemas.TYPES)


def test_bookkeeping_and_severities_are_those_of_the_schemas() -> None:
    assert BOOKKEEPING == event_schemas.BOOKKEEPING_TYPES
    envelope = event_schemas.document("envelope")["properties"]
    assert list(SEVERITIES) == envelope["severity"]["enum"]


@pytest.mark.parametrize(
    ("event", "topics"),
    [
        ({}, ()),
        ({"user_id": None, "task_id": None, "agent_name": None}, ()),
        ({"user_id": "42"}, ("user:42",)),
        ({"user_id": "*"}, ("system",)),
        ({"user_id": "*", "agent_name": "a"}, ("system", "agent:a")),
        (
            {
                **{"recipient_id": "r", "channel": "c", "agent_name": "a", "task_id": "t"},
                **{"user_id": "42", "agent_id": "w1", "domain": "d"},
            },
            ("user:42", "task:t", "agent:a", "channel:c", "recipient:r"),
        ),
    ],
)
def test_the_topics_of_an_event_follow_from_its_fields(
    event: dict[str, Any], topics: tuple[str, ...]
) -> None:
    assert topics_of(event) == topics


@pytest.mark.parametrize(
    ("topics", "heard"),
    [
        ([], set()),
        (["task:t"], {"task:t"}),
        (["*"], {"*"}),
        (["user:42"], {"user:42", "system"}),
        (["task:t", "user:42", "user:42"], {"task:t", "user:42", "system"}),
        (["channel:user:42"], {"channel:user:42"}),
    ],
)
def test_a_subscriber_to_a_user_also_hears_what_concerns_everyone(
    topics: list[str], heard: set[str]
) -> None:
    assert listening(iter(topics)) == heard
