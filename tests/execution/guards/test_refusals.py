"""Refusals: each request is answered, and its user's other pages are told once a second."""

from __future__ import annotations

import pytest

from gateway.domain.agent import AgentPolicy
from gateway.domain.errors import Rejected, RequestError
from gateway.execution.guards import refusals as refusals_module
from tests.execution.conftest import OpenWorld
from tests.execution.world import World, away_world

SEARCH = AgentPolicy("search")


async def refuse(here: World, user_id: str, reason: str = "draining") -> RequestError:
    error = Rejected("not now", code=reason, retry_after=2.0)
    refusals = here.engine.parts.refusals
    return await refusals.told(error, reason=reason, user_id=user_id, policy=SEARCH)


def told(here: World) -> list[tuple[str, str, int]]:
    events = here.said("request_rejected")
    return [(event["user_id"], event["reason"], event["count"]) for event in events]


async def test_the_first_is_told_at_once_and_those_of_a_second_together(here: World) -> None:
    for _ in range(200):
        error = await refuse(here, "ann")
        assert (error.code, error.retry_after) == ("draining", 2.0)
    assert told(here) == [("ann", "draining", 1)]
    await here.passing(1.01)
    await refuse(here, "ann")
    assert told(here) == [("ann", "draining", 1), ("ann", "draining", 199)]
    await here.passing(10)
    assert told(here)[2:] == [("ann", "draining", 1)]
    assert here.engine.parts.refusals._untold == {}


async def test_each_user_and_each_reason_is_told_apart(here: World) -> None:
    for user, reason in (("ann", "draining"), ("bob", "draining"), ("ann", "rate_limited")):
        await refuse(here, user, reason)
    assert told(here) == [
        ("ann", "draining", 1),
        ("bob", "draining", 1),
        ("ann", "rate_limited", 1),
    ]


async def test_at_the_bound_further_users_are_answered_only(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals_module, "TOLD_MAX", 2)
    for user in ("ann", "bob", "cy"):
        assert isinstance(await refuse(here, user), Rejected)
    await here.passing(5)
    assert [user for user, _, _ in told(here)] == ["ann", "bob"]
    await refuse(here, "cy")
    assert told(here)[-1] == ("cy", "draining", 1)


async def test_a_store_that_is_away_does_not_change_the_answer(open_world: OpenWorld) -> None:
    here, log = await away_world(open_world)
    log.away = True
    assert (await refuse(here, "ann")).code == "draining"
    log.away = False
