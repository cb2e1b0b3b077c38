"""The list of breakers: what each has counted up to now."""

from __future__ import annotations

import pytest

from gateway.domain.access import Caller
from gateway.domain.errors import NotPermitted
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
