"""What is published under an idempotency key is in the log once, and answered alike each time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.domain.access import Caller
from gateway.domain.errors import InvalidParams, NotPermitted, Unavailable
from tests.execution.conftest import OpenWorld
from tests.execution.world import World

ANN = Caller("ann", frozenset({"agent", "events:write"}))
BOB = Caller("bob", frozenset({"agent", "events:write"}))
REPORT = {"type": "agent_error", "user_id": "cy", "agent_name": "nightly"}


async def publish(here: World, caller: Caller = ANN, **event: Any) -> Any:
    return await here.call("event.publish", caller, **{**REPORT, **event})


async def test_the_same_report_under_the_same_key_is_one_event(here: World) -> None:
    first = await publish(here, idempotency_key="k1")
    assert await publish(here, idempotency_key="k1") == first
    again = await asyncio.gather(*(publish(here, idempotency_key="k2") for _ in range(3)))
    assert again[0] == again[1] == again[2] != first
    assert len(here.said("agent_error")) == 2
    assert "idempotency_key" not in here.entries[0].operator.decode()


async def test_another_key_another_report_and_another_caller_are_others(here: World) -> None:
    for caller, event in (
        (ANN, {"idempotency_key": "k1"}),
        (ANN, {"idempotency_key": "k2"}),
        (ANN, {"idempotency_key": "k1", "error_type": "timeout"}),
        (BOB, {"idempotency_key": "k1"}),
        (ANN, {}),
        (ANN, {}),
    ):
        await publish(here, caller, **event)
    assert len(here.said("agent_error")) == 6


async def test_a_recovery_that_is_said_again_is_answered_though_nothing_is_open(
    here: World,
) -> None:
    error_id = (await publish(here))["error_id"]
    over = {"type": "system_recovered", "error_id": error_id, "idempotency_key": "k"}
    assert await publish(here, **over) == await publish(here, **over)
    assert len(here.said("system_recovered")) == 1


async def test_a_notification_may_have_a_key(here: World) -> None:
    note = {"type": "notification", "subject": "s", "payload": 1, "recipient_id": "cy"}
    answers = [await here.call("event.publish", ANN, **note, idempotency_key="k") for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(here.said("notification")) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, 7, None])
async def test_a_key_that_is_none_is_refused(here: World, key: Any) -> None:
    with pytest.raises(InvalidParams) as refused:
        await publish(here, idempotency_key=key)
    assert refused.value.field == "idempotency_key"


async def test_rights_are_looked_at_each_time(here: World) -> None:
    await publish(here, idempotency_key="k")
    with pytest.raises(NotPermitted):
        await publish(here, Caller("ann", frozenset({"events:write"})), idempotency_key="k")


async def test_an_entry_that_the_log_does_not_keep_any_more_is_no_answer(
    open_world: OpenWorld,
) -> None:
    """The log refuses the second entry of a subject; what the first was, nobody knows."""
    here = await open_world(log_events=3)
    first = await publish(here, idempotency_key="k")
    assert await publish(here, idempotency_key="k") == first
    for _ in range(4):
        await publish(here)
    with pytest.raises(Unavailable, match="same key"):
        await publish(here, idempotency_key="k")
