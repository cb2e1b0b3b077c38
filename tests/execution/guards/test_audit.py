"""Audit: what a caller has done is recorded with its name, and refused sign-ins are counted."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.access import Caller
from gateway.domain.errors import Conflict, NotFound
from tests.execution.conftest import OpenWorld
from tests.execution.world import World, away_world

ADMIN = Caller("olga", frozenset({"admin"}))
ANN = Caller("ann", frozenset({"tasks:write"}))


def records(here: World) -> list[tuple[Any, ...]]:
    return [
        (event["action"], event["target"], event["detail"]["by"])
        for event in here.said("audit_recorded")
    ]


async def test_what_stops_repeats_or_removes_is_recorded_with_its_caller(here: World) -> None:
    one, other = [await here.submit("nobody", user_id="ann") for _ in range(2)]
    await here.call("task.cancel", ANN, task_id=one)
    await here.call("task.cancel", ADMIN, task_id=other)
    await here.call("task.retry", ADMIN, task_id=one)
    assert records(here) == [
        ("task.cancel", one, "ann"),
        ("task.cancel", other, "olga"),
        ("task.retry", one, "olga"),
    ]
    assert {event["task_id"] for event in here.said("audit_recorded")} == {one, other}


async def test_what_was_refused_was_not_done_and_is_not_recorded(here: World) -> None:
    task_id = await here.submit("nobody", user_id="ann")
    await here.call("task.cancel", ANN, task_id=task_id)
    with pytest.raises(Conflict):
        await here.call("task.cancel", ANN, task_id=task_id)
    with pytest.raises(NotFound):
        await here.call("dead_letter.discard", ADMIN, task_id=task_id)
    assert len(records(here)) == 1


async def test_refused_sign_ins_are_recorded_once_a_minute_for_each_reason(here: World) -> None:
    audit = here.engine.parts.audit

    def told() -> list[tuple[str, int]]:
        return [(event["reason"], event["count"]) for event in here.said("audit_recorded")]

    for _ in range(50):
        audit.sign_in_refused("it is no JWT")
    audit.sign_in_refused("it has expired")
    await here.passing(0.1)
    assert told() == [("it is no JWT", 50), ("it has expired", 1)]
    for _ in range(1000):
        audit.sign_in_refused("it is no JWT")
    await here.passing(30)
    assert len(told()) == 2
    await here.passing(31)
    assert told()[2:] == [("it is no JWT", 1000)]
    await here.passing(200)
    assert len(told()) == 3
    assert audit._refused == {}


async def test_an_action_is_done_and_logged_while_the_store_takes_no_record(
    open_world: OpenWorld, caplog: pytest.LogCaptureFixture
) -> None:
    here, log = await away_world(open_world)
    audit = here.engine.parts.audit
    log.away = True
    audit.sign_in_refused("it is no JWT")
    await here.passing(0.1)
    assert "1 sign-ins refused: it is no JWT" in caplog.text
    log.away = False
