"""The list of breakers: what each has counted up to now."""

from __future__ import annotations

import pytest

from gateway.domain.access import Caller
from gateway.domain.errors import NotFound, NotPermitted, Rejected
from gateway.domain.timestamps import seconds_of
from tests.execution.hands import hand
from tests.execution.world import World


async def test_a_breaker_is_listed_with_what_it_has_counted(here: World) -> None:
    worker = await hand(here)
    for fails in (True, False, True, True):
        await here.submit("writer", max_attempts=1)
        await worker.claim()
        if fails:
            await worker.tell("task.fail", message="no", error_type="service_unavailable")
        else:
            await worker.tell("task.complete", result=1)
    (shown,) = (await here.call("breaker.list"))["items"]
    assert shown == {
        "name": "writer",
        "scope": "agent",
        "state": "closed",
        "opened_at": None,
        "probe_at": None,
        "version": 0,
        "failure_rate": 0.75,
        "consecutive_failures": 2,
        "outcomes": 4,
        "failures": 3,
        "permits_in_use": 0,
        "estimated_recovery_time": None,
    }


async def test_outcomes_leave_the_count_as_time_passes_without_any_entry(here: World) -> None:
    worker = await hand(here)
    await here.submit("writer", max_attempts=1)
    await worker.claim()
    await worker.tell("task.fail", message="no", error_type="service_unavailable")
    await worker.beat_for(60)
    (shown,) = (await here.call("breaker.list"))["items"]
    assert (shown["outcomes"], shown["failures"], shown["failure_rate"]) == (0, 0, 0.0)


async def test_an_open_breaker_says_when_it_is_probed(here: World) -> None:
    worker = await hand(here)
    for _ in range(5):
        await here.submit("writer", max_attempts=1)
        await worker.claim()
        await worker.tell("task.fail", message="no", error_type="service_unavailable")
    (shown,) = (await here.call("breaker.list"))["items"]
    assert (shown["state"], shown["version"]) == ("open", 1)
    assert shown["opened_at"] < shown["probe_at"]
    waits = seconds_of(shown["probe_at"]) - here.engine.clock.wall()
    assert shown["estimated_recovery_time"] == pytest.approx(waits, abs=0.01)


async def test_breakers_are_listed_in_pages_and_for_operators(here: World) -> None:
    for name in ("a", "b", "c"):
        async with here.gateway.attempt(name):
            pass
    first = await here.call("breaker.list", limit=2)
    rest = await here.call("breaker.list", limit=2, cursor=first["next"])
    assert [breaker["name"] for breaker in first["items"] + rest["items"]] == ["a", "b", "c"]
    assert rest["next"] is None
    with pytest.raises(NotPermitted):
        await here.call("breaker.list", Caller("ann", frozenset({"events:read:all"})))


async def test_an_operator_opens_and_closes_a_breaker(here: World) -> None:
    worker = await hand(here)
    shown = await here.call("breaker.open", name="writer")
    assert (shown["state"], shown["version"]) == ("open", 1)
    assert (await here.call("breaker.open", name="writer"))["version"] == 1
    with pytest.raises(Rejected, match="circuit_breaker_open"):
        await here.submit("writer")
    shown = await here.call("breaker.close", name="writer")
    assert shown["state"] == "closed"
    await here.submit("writer")
    await worker.claim()
    await worker.tell("task.complete", result=1)
    assert len(here.said("circuit_breaker_triggered")) == 1
    assert len(here.said("system_recovered", scope="breaker")) == 1
    assert [event["action"] for event in here.said("audit_recorded")] == [
        "breaker.open",
        "breaker.open",
        "breaker.close",
    ]


async def test_what_an_operator_has_opened_is_probed_after_its_cooldown(here: World) -> None:
    worker = await hand(here)
    await here.call("breaker.open", name="writer")
    await worker.beat_for(31)
    for _ in range(3):
        await here.submit("writer")
        await worker.claim()
        await worker.tell("task.complete", result=1)
    (shown,) = (await here.call("breaker.list"))["items"]
    assert shown["state"] == "closed"


@pytest.mark.parametrize("operation", ["breaker.open", "breaker.close"])
async def test_a_breaker_that_no_agent_has_is_not_there(here: World, operation: str) -> None:
    with pytest.raises(NotFound) as refused:
        await here.call(operation, name="nobody")
    assert refused.value.field == "name"
    with pytest.raises(NotPermitted):
        await here.call(operation, Caller("ann", frozenset({"events:read"})), name="nobody")
    assert here.state.breakers == {}
