"""What a breaker decides, call by call: which way a call may take, and which state is due."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.agent import AgentPolicy
from gateway.domain.breaker import Breaker
from gateway.domain.error_codes import failure_with
from gateway.domain.errors import ExpectationFailed
from gateway.domain.recovery import Next
from gateway.execution.guards.breakers import Admission, Refusal, StandIn
from gateway.execution.record.task_drafts import outcome_of
from tests.execution.record.room import NOW, Room
from tests.execution.world import AwayLog

SEARCH = AgentPolicy("search", max_attempts=1)
LOST = failure_with("connection_lost")
DOWN = failure_with("upstream_unavailable")


def room(**changes: Any) -> Room:
    return Room(SEARCH, **{"breaker_threshold": 2, "breaker_cooldown": 10.0, **changes})


async def fail(here: Room, times: int = 1) -> None:
    for _ in range(times):
        task = await here.running()
        await here.lifecycle.fail(task.task_id, task.term, DOWN, cause="exception")


def breaker_of(here: Room) -> Breaker:
    return here.state.breakers["search"]


def admit(here: Room, policy: AgentPolicy = SEARCH) -> Admission | Refusal:
    return here.breakers.admit(policy, user_id="ann", task_id="t0", attempt=1)


async def fail_elsewhere(here: Room) -> Breaker:
    """Append a failure as a node does that dies before it acts on it."""
    task = await here.running()
    error = here.task_drafts.error(
        task,
        DOWN,
        here.ids.uuid7(),
        SEARCH,
        Next("failed", reason="x"),
        cause="exception",
        detail=None,
        outcome=outcome_of(task, "failure"),
    )
    await here.intake.append([error, here.task_drafts.finished(task, "failed", reason="x")])
    return breaker_of(here)


async def probe(here: Room) -> Admission:
    """Take a permit."""
    admission = admit(here)
    assert isinstance(admission, Admission)
    await here.intake.append(admission.drafts, expected=admission.expected)
    return admission


# --- admission -------------------------------------------------------------------------------


def test_a_closed_breaker_lets_every_call_through_and_tells_nothing() -> None:
    here = room()
    for _ in range(100):
        assert admit(here) == Admission("search", 0)


async def test_an_open_breaker_refuses_until_it_has_cooled_down() -> None:
    here = room()
    await fail(here, 2)
    assert breaker_of(here).state == "open"
    here.clock.now = NOW + 9.999
    refused = admit(here)
    assert isinstance(refused, Refusal)
    assert refused.breaker is breaker_of(here)
    assert refused.retry_after_s == pytest.approx(0.001, abs=1e-6)
    here.clock.now = NOW + 10
    admission = admit(here)
    assert isinstance(admission, Admission)
    assert (admission.generation, len(admission.drafts)) == (1, 1)
    assert admission.expected == {"breaker/search": breaker_of(here).last_offset}


async def test_of_two_calls_that_ask_for_a_permit_at_once_one_asks_again() -> None:
    here = room(breaker_permits=1)
    await fail(here, 2)
    here.clock.now += 10
    one, other = admit(here), admit(here)
    assert isinstance(one, Admission)
    assert isinstance(other, Admission)
    await here.intake.append(one.drafts, expected=one.expected)
    with pytest.raises(ExpectationFailed):
        await here.intake.append(other.drafts, expected=other.expected)
    assert isinstance(admit(here), Refusal)


async def test_agents_that_share_a_breaker_share_its_permits() -> None:
    here = room(breaker_permits=1)
    await fail(here, 2)
    here.clock.now += 10
    await probe(here)
    assert isinstance(admit(here, AgentPolicy("other", breaker="search")), Refusal)
    assert isinstance(admit(here, AgentPolicy("third")), Admission)


# --- the way of an attempt -------------------------------------------------------------------


async def test_an_attempt_is_made_by_the_agent_while_it_may_be_called() -> None:
    here = room()
    task = await here.task()
    for stand_in in (None, "stand_in"):
        assert here.breakers.way(task, SEARCH, stand_in=stand_in) == Admission("search", 0)


async def test_the_fallback_stands_in_for_an_agent_that_may_not_be_called() -> None:
    here = room()
    await fail(here, 2)
    task = await here.task()
    assert isinstance(here.breakers.way(task, SEARCH, stand_in=None), Refusal)
    assert here.breakers.way(task, SEARCH, stand_in="stand_in") == StandIn("stand_in")


async def test_an_attempt_that_was_announced_for_the_fallback_is_made_by_it_alone() -> None:
    """A holder without that fallback may not make it, though the agent may be called."""
    here = room()
    task = await here.task()
    task.next_mode = "fallback"
    assert here.breakers.way(task, SEARCH, stand_in="stand_in") == StandIn("stand_in")
    refused = here.breakers.way(task, SEARCH, stand_in=None)
    assert isinstance(refused, Refusal)
    assert refused.retry_after_s == 0.0


async def test_a_task_that_was_accepted_as_a_probe_has_its_permit() -> None:
    here = room(breaker_permits=1)
    await fail(here, 2)
    here.clock.now += 10
    order = here.acceptance.order("search", input=None, user_id="ann")
    task = await here.acceptance.submit(order)
    assert task.probe in breaker_of(here).probes
    assert isinstance(admit(here), Refusal)
    way = here.breakers.way(task, SEARCH, stand_in="stand_in")
    assert way == Admission("search", 1, task.probe)


async def test_a_probes_permit_ends_with_the_opening_that_gave_it() -> None:
    here = room(breaker_permits=2)
    await fail(here, 2)
    here.clock.now += 10
    waiting = await here.acceptance.submit(
        here.acceptance.order("search", input=None, user_id="ann")
    )
    failing = await here.acceptance.submit(
        here.acceptance.order("search", input=None, user_id="ann")
    )
    way = here.breakers.way(failing, SEARCH, stand_in=None)
    await here.start(failing, way=way)
    await here.lifecycle.fail(failing.task_id, failing.term, DOWN, cause="exception")
    assert (breaker_of(here).state, breaker_of(here).version) == ("open", 2)
    assert isinstance(here.breakers.way(waiting, SEARCH, stand_in=None), Refusal)


# --- openings and closings -------------------------------------------------------------------


async def test_failures_that_are_not_the_agents_open_nothing() -> None:
    here = room()
    for _ in range(5):
        task = await here.running()
        await here.lifecycle.fail(task.task_id, task.term, LOST, cause="agent_lost")
    assert here.said("circuit_breaker_triggered") == []


async def test_an_opening_that_the_store_does_not_take_stays_due() -> None:
    here = room(wrap=AwayLog)
    task, other = await here.running(), await here.running()
    await here.lifecycle.fail(task.task_id, task.term, DOWN, cause="exception")
    log: Any = here.log
    log.follow(lambda entry: setattr(log, "away", entry.type == "task_finished"))
    await here.lifecycle.fail(other.task_id, other.term, DOWN, cause="exception")
    assert (breaker_of(here).state, breaker_of(here).due()) == ("closed", "open")
    log.away = False
    await here.breakers.act()
    assert breaker_of(here).state == "open"
    await here.breakers.act()
    assert len(here.said("circuit_breaker_triggered")) == 1


async def test_a_breaker_that_was_forgotten_opens_again() -> None:
    """The log still knows it, and lets nothing stand on nothing."""
    here = room(breaker_cooldown=1.0)
    await fail(here, 2)
    await here.intake.append([here.breaker_drafts.closed(breaker_of(here))])
    del here.state.breakers["search"]
    await fail(here, 2)
    assert breaker_of(here).state == "open"
    assert len(here.said("circuit_breaker_triggered")) == 2


async def test_what_another_node_has_done_is_not_done_again() -> None:
    here = room()
    await fail(here, 1)
    breaker = await fail_elsewhere(here)
    assert breaker.due() == "open"
    await here.intake.append([here.breaker_drafts.triggered(breaker)])
    await here.breakers.act()
    assert len(here.said("circuit_breaker_triggered")) == 1


async def test_a_node_that_begins_finds_what_is_due() -> None:
    here = room()
    await fail(here, 1)
    await fail_elsewhere(here)
    # What was noted is lost with the node.
    here.breakers.clear()
    await here.breakers.act()
    assert here.said("circuit_breaker_triggered") == []
    here.breakers.begin()
    await here.breakers.act()
    assert breaker_of(here).state == "open"


async def test_a_decision_that_later_outcomes_speak_against_is_dropped() -> None:
    here = room()
    await fail(here, 1)
    fine = await here.running()
    await fail_elsewhere(here)
    await here.lifecycle.succeed(fine.task_id, fine.term, 1)
    assert (breaker_of(here).state, breaker_of(here).due()) == ("closed", None)
    assert here.said("circuit_breaker_triggered") == []


async def test_every_permits_success_closes_a_breaker_once() -> None:
    here = room(breaker_permits=2)
    await fail(here, 2)
    here.clock.now += 10
    for closed in (0, 1):
        task = await here.task()
        way = here.breakers.way(task, SEARCH, stand_in=None)
        await here.start(task, way=way)
        await here.lifecycle.succeed(task.task_id, task.term, 1)
        assert len(here.said("system_recovered")) == closed
    assert breaker_of(here).state == "closed"
    assert isinstance(admit(here), Admission)
