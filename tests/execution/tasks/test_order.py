"""An order: what makes two of them the same, and the id that a key gives its task."""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import pytest

from gateway import Task
from gateway.errors import NotRetryable
from gateway.execution.tasks.order import Order
from tests.execution.world import World

ORDER = Order(agent_name="search", input={"q": 1}, user_id="ann", timeout_s=300.0, max_attempts=3)


def but(**changes: Any) -> Order:
    return dataclasses.replace(ORDER, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"agent_name": "other"},
        {"agent_name": None, "capability": "search"},
        {"input": {"q": 2}},
        {"input": None},
        {"priority": 4},
        {"timeout_s": 301.0},
        {"max_attempts": 2},
        {"correlation_id": "c"},
        {"causation_id": "c"},
    ],
)
def test_orders_for_different_things_have_different_fingerprints(changes: dict[str, Any]) -> None:
    assert but(**changes).fingerprint != ORDER.fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"priority": 5},
        {"timeout_s": 300},
        {"traceparent": "00-x"},
        {"idempotency_key": "k"},
        {"reserved_for": "n1"},
    ],
)
def test_what_is_no_part_of_the_question_does_not_change_the_fingerprint(
    changes: dict[str, Any],
) -> None:
    """A default that is spelled out, an integer for a float, and the trace of one call."""
    assert but(**changes).fingerprint == ORDER.fingerprint


def test_the_context_is_what_was_said_of_it() -> None:
    assert ORDER.context == {}
    said = but(correlation_id="c", traceparent="00-x")
    assert said.context == {"correlation_id": "c", "traceparent": "00-x"}


def test_members_of_the_input_may_stand_in_any_order() -> None:
    one, other = but(input={"a": 1, "b": [2]}), but(input={"b": [2], "a": 1})
    assert one.fingerprint == other.fingerprint
    assert but(input=[1, 2]).fingerprint != but(input=[2, 1]).fingerprint


def test_a_key_gives_the_same_id_whatever_is_asked_under_it() -> None:
    """So that the log takes one of them, and the other is told that the key was used."""
    one, other = but(idempotency_key="k"), but(idempotency_key="k", input={"q": 2})
    assert one.id_by_key(0) == other.id_by_key(0)


def test_users_uses_and_keys_have_ids_of_their_own() -> None:
    key = but(idempotency_key="k")
    others = [
        key.id_by_key(1),
        but(idempotency_key="l").id_by_key(0),
        but(idempotency_key="k", user_id="bob").id_by_key(0),
    ]
    assert len({key.id_by_key(0), *others}) == 4


def test_an_id_by_key_is_a_uuid_of_version_8() -> None:
    for use in range(50):
        id = uuid.UUID(but(idempotency_key="k").id_by_key(use))
        assert (id.version, id.variant) == (8, uuid.RFC_4122)


async def test_a_retry_after_the_end_is_a_new_task(here: World) -> None:
    @here.gateway.agent("bad", max_attempts=1)
    async def bad(task: Task, word: str) -> None:
        raise NotRetryable

    first = await here.run("bad", {"word": "a"}, user_id="ann", priority=3)
    answer = await here.call("task.retry", task_id=first.task_id)
    assert answer["retry_of"] == first.task_id
    second = await here.done(answer["task_id"])
    assert (second.input, second.user_id, second.priority) == ({"word": "a"}, "ann", 3)
    finished = here.said("task_finished", task_id=first.task_id)[0]
    submitted = here.said("task_submitted", task_id=second.task_id)[0]
    assert submitted["causation_id"] == finished["event_id"]
    assert submitted["retry_of"] == first.task_id


async def test_an_order_that_is_made_again_has_no_key_and_no_reservation(here: World) -> None:
    """The key stands for the first task, which would be given back."""

    @here.gateway.agent("bad", max_attempts=1)
    async def bad(task: Task) -> None:
        raise NotRetryable

    first = await here.run("bad", idempotency_key="k", timeout=7.0, user_id="ann")
    again = Order.again(first)
    assert (again.idempotency_key, again.reserved_for) == (None, None)
    assert (again.retry_of, again.causation_id) == (first.task_id, first.finished_event_id)
    assert (again.timeout_s, again.max_attempts, again.user_id) == (7.0, 1, "ann")
