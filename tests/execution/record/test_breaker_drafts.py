"""The drafts about breakers: an opening and all after it are one failure, told to every user."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.agent import AgentPolicy
from gateway.domain.breaker import Breaker, subject_of
from gateway.domain.facts import Failed
from gateway.domain.timestamps import rfc3339
from gateway.execution.record.task_drafts import outcome_of
from tests.execution.record.room import NOW, Room, body_of

SEARCH = AgentPolicy("search")


async def failing(room: Room, times: int) -> Breaker:
    """Let attempts of ``search`` fail, as its breaker sees it."""
    task = await room.running()
    judged = outcome_of(task, "failure")
    for _ in range(times):
        draft = room.task_drafts.of_task(
            "agent_error",
            task,
            severity="error",
            message="m",
            fact=Failed(outcome=judged),
            will_retry=False,
            max_attempts=1,
            cause="exception",
            error_type="timeout",
            error_code="llm_timeout",
            is_recoverable=True,
            user_message="u",
            suggested_action="wait",
            retry_possible=True,
            error_id="00000000-0000-7000-8000-0000000000e1",
            estimated_recovery_time=1.0,
            recovery_estimate_source="default",
        )
        await room.intake.append([draft])
    return room.state.breakers["search"]


async def opened(room: Room, times: int = 2) -> Breaker:
    breaker = await failing(room, times)
    await room.intake.append([room.breaker_drafts.triggered(breaker)])
    return breaker


async def test_an_opening_concerns_every_user_and_says_why_and_how_long() -> None:
    room = Room(SEARCH, breaker_cooldown=20.0)
    draft = room.breaker_drafts.triggered(await failing(room, 2))
    event = body_of(draft)
    assert draft.subject == subject_of("search")
    assert event["message"] == (
        "circuit breaker triggered: breaker search, newest_failure timeout, cooldown_period 20"
    )
    assert (event["user_id"], event["agent_name"], event["scope"]) == ("*", "search", "agent")
    assert (event["failure_threshold_reached"], event["failure_rate"]) == (2, 1.0)
    assert (event["cooldown_period"], event["probe_at"]) == (20.0, rfc3339(NOW + 20))
    assert (event["breaker_version"], event["reopened"], event["severity"]) == (1, False, "error")
    assert (event["estimated_recovery_time"], event["recovery_estimate_source"]) == (
        20.0,
        "breaker_cooldown",
    )


async def test_an_opening_that_is_told_late_has_the_figures_of_its_time() -> None:
    """The window of half a minute is empty by now; the breaker was judged by it all the same."""
    room = Room(SEARCH)
    breaker = await failing(room, 3)
    room.clock.now += 3600
    assert body_of(room.breaker_drafts.triggered(breaker))["failure_rate"] == 1.0


async def test_a_breaker_that_opens_again_goes_on_with_its_failure() -> None:
    room = Room(SEARCH)
    breaker = await opened(room)
    again = body_of(room.breaker_drafts.triggered(breaker))
    assert again["error_id"] == breaker.error_id
    assert (again["reopened"], again["severity"], again["breaker_version"]) == (
        True,
        "critical",
        2,
    )


@pytest.mark.parametrize("fallback", [None, "stand_in"])
async def test_an_opening_says_whether_a_fallback_answers(fallback: str | None) -> None:
    room = Room(AgentPolicy("search", fallback=fallback))
    event = body_of(room.breaker_drafts.triggered(await failing(room, 1)))
    assert event["fallback_active"] is (fallback is not None)


async def test_a_shared_breaker_speaks_by_the_first_agent_behind_it() -> None:
    room = Room(AgentPolicy("writer", breaker="model"), AgentPolicy("reader", breaker="model"))
    event = body_of(room.breaker_drafts.triggered(room.state.breaker("model", "upstream")))
    assert (event["breaker"], event["agent_name"], event["scope"]) == (
        "model",
        "writer",
        "upstream",
    )


async def test_a_breaker_without_an_agent_speaks_by_its_own_name() -> None:
    """Its worker is gone, and nothing else is known of the agent."""
    room = Room()
    event = body_of(room.breaker_drafts.triggered(room.state.breaker("gone", "agent")))
    assert (event["agent_name"], event["failure_threshold_reached"]) == ("gone", 1)


async def test_a_probe_names_its_task_and_the_breakers_failure() -> None:
    room = Room(SEARCH)
    breaker = await opened(room)
    task: dict[str, Any] = {"user_id": "ann", "task_id": "t1", "attempt": 2}
    probe_id = room.ids.uuid7()
    draft = room.breaker_drafts.test_request(breaker, SEARCH, test_request_id=probe_id, task=task)
    event = body_of(draft)
    assert (event["task_id"], event["attempt"], event["test_request_id"]) == ("t1", 2, probe_id)
    assert (event["error_id"], event["estimated_recovery_time"]) == (breaker.error_id, 0.0)


async def test_a_closing_ends_the_failure_and_says_how_long_it_lasted() -> None:
    room = Room(SEARCH)
    breaker = await opened(room)
    error_id = breaker.error_id
    room.clock.now += 10
    await room.intake.append([room.breaker_drafts.triggered(breaker)])
    room.clock.now += 5
    event = body_of(room.breaker_drafts.closed(breaker))
    assert (event["user_id"], event["scope"], event["error_id"]) == ("*", "breaker", error_id)
    assert (event["recovery_time"], event["attempts_made"]) == (15.0, 2)
