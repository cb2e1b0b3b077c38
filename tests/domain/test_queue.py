"""Which waiting task is next: by effective priority, then by turns, then first come."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import queue as queue_module
from gateway.domain.preserved import Preserved
from gateway.domain.queue import AGING_S, Queue, route_of, routes_of
from gateway.domain.task import Task

NOW = 1_800_000_000.0
WRITER = routes_of(["writer"])
BOTH = routes_of(["writer", "reader"])


def task(sequence: int, *, user: str = "ann", priority: int = 5, **more: Any) -> Task:
    fields: dict[str, Any] = {
        "task_id": f"t{sequence}",
        "user_id": user,
        "agent_name": "writer",
        "capability": None,
        "priority": priority,
        "input": None,
        "timeout_s": 300.0,
        "max_attempts": 3,
        "created_at": NOW,
        "sequence": sequence,
        "preserved": Preserved(bytes_max=1000),
    }
    return Task(**(fields | more))


def queue(*tasks: Task) -> Queue:
    made = Queue()
    for one in tasks:
        made.put(one)
    return made


def order(queue: Queue, now: float = NOW, routes: list[str] = WRITER, **more: Any) -> list[int]:
    return [one.sequence for one in queue.ready(routes, now, limit=100, **more)]


@pytest.mark.requirement("WEFT-W21")
def test_the_most_urgent_comes_first_and_then_the_first_that_came() -> None:
    waiting = queue(task(1), task(2, priority=0), task(3, priority=10), task(4, priority=0))
    assert order(waiting) == [2, 4, 1, 3]


@pytest.mark.requirement("FLUX-11", "FLUX-W9")
def test_waiting_lifts_a_task_one_step_each_ten_seconds_and_never_past_one() -> None:
    low = task(1, priority=10)
    waiting = queue(low)
    for lifts in range(12):
        at = NOW + AGING_S * lifts
        rival = task(2, priority=max(1, 10 - lifts), created_at=at, user="bob")
        waiting.put(rival)
        assert order(waiting, at) == [1, 2]
        waiting.remove("t2")
        waiting.put(task(3, priority=max(0, 9 - lifts), created_at=at, user="bob"))
        assert order(waiting, at)[0] == 3
        waiting.remove("t3")
    waiting.put(task(4, priority=0, created_at=NOW + 200, user="bob"))
    assert order(waiting, NOW + 200) == [4, 1]


def test_a_moment_before_ten_seconds_a_task_is_not_lifted() -> None:
    waiting = queue(task(1, priority=6), task(2, priority=5, user="bob", created_at=NOW + 5))
    assert order(waiting, NOW + 9.999) == [2, 1]
    assert order(waiting, NOW + 10) == [1, 2]


def test_users_take_turns_within_a_step() -> None:
    """One user's many tasks delay another user's next one by one task at the most."""
    waiting = queue(*(task(n, user="ann") for n in range(1, 6)), task(6, user="bob"))
    taken = []
    for turn in range(6):
        (next_one,) = waiting.ready(WRITER, NOW)
        taken.append(next_one.sequence)
        waiting.remove(next_one.task_id)
        waiting.served(next_one.user_id, 100 + turn)
    assert taken == [1, 6, 2, 3, 4, 5]


def test_a_user_that_was_served_waits_its_turn_when_it_comes_back() -> None:
    waiting = queue(task(1, user="ann"))
    waiting.served("bob", 7)
    waiting.put(task(2, user="bob"))
    assert order(waiting) == [1, 2]
    waiting.served("ann", 8)
    assert order(waiting) == [2, 1]


def test_a_task_between_attempts_waits_for_its_time() -> None:
    waiting = queue(task(1, next_attempt_at=NOW + 5))
    assert order(waiting, NOW + 4.9) == []
    assert order(waiting, NOW + 5) == [1]
    waiting.put(task(1, next_attempt_at=NOW + 50))
    assert order(waiting, NOW + 49) == []


def test_a_worker_takes_from_its_own_rows() -> None:
    able = task(3, agent_name=None, capability="draw")
    waiting = queue(task(1), task(2, agent_name="reader"), able)
    assert route_of(able) == "capability:draw"
    assert order(waiting, routes=routes_of(["reader"], ["draw"])) == [2, 3]
    assert order(waiting, routes=routes_of([], [])) == []


def test_what_does_not_fit_is_passed_over() -> None:
    waiting = queue(*(task(n, user=f"u{n % 3}") for n in range(9)))
    assert order(waiting, fits=lambda one: one.sequence in (5, 7)) == [5, 7]


def test_a_task_that_was_taken_waits_no_more() -> None:
    waiting = queue(task(1), task(2))
    waiting.remove("t1")
    waiting.remove("t1")
    assert order(waiting) == [2]
    assert len(waiting) == 1


def test_turns_are_bounded_and_a_forgotten_user_counts_as_never_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue_module, "TURNS_KEPT", 2)
    waiting = queue(task(1, user="ann"), task(2, user="bob"))
    for turn, user in enumerate(("ann", "bob", "cid"), start=1):
        waiting.served(user, turn)
    assert waiting.turns() == [("bob", 2), ("cid", 3)]
    assert order(waiting) == [1, 2]


def test_a_users_tasks_that_have_waited_do_not_stand_before_anothers_of_the_same_priority() -> None:
    old = [task(n, user="ann") for n in range(1, 6)]
    waiting = queue(*old, task(6, user="ann", priority=2, created_at=NOW + 39))
    waiting.put(task(7, user="bob", created_at=NOW + 39))
    waiting.served("ann", 100)
    # Thirty seconds lift priority 5 to 2, and what has just come with it.
    assert order(waiting, NOW + 39) == [7, 1, 2, 3, 4, 5, 6]
    for one in old:
        waiting.remove(one.task_id)
    assert order(waiting, NOW + 39) == [6, 7]


def test_what_nobody_can_take_lifts_no_other_row() -> None:
    stuck = task(1, agent_name="reader", priority=9)
    waiting = queue(stuck, task(2, priority=9, created_at=NOW + 90))
    waiting.put(task(3, priority=3, user="bob", created_at=NOW + 90))
    assert order(waiting, NOW + 90, BOTH) == [1, 2, 3]
    assert order(waiting, NOW + 90, BOTH, fits=lambda one: one is not stuck) == [3, 2]


def rank_of(one: Task, could: list[Task], now: float, turns: dict[str, int]) -> tuple[int, int]:
    oldest = min(since_of(other) for other in could if other.priority == one.priority)
    lifts = int((now - oldest) // AGING_S)
    step = one.priority if one.priority <= 1 else max(1, one.priority - lifts)
    return step, turns.get(one.user_id, 0)


def since_of(one: Task) -> float:
    return one.created_at if one.next_attempt_at is None else one.next_attempt_at


@given(st.randoms(use_true_random=False))
def test_the_order_is_that_of_a_plain_sort(chance: random.Random) -> None:
    """Against a model that sorts everything each time it is asked."""
    waiting, there, turns, now = Queue(), dict[str, Task](), dict[str, int](), NOW
    for step in range(60):
        match chance.choice(("put", "put", "remove", "serve", "pass")):
            case "put":
                later = now + chance.choice((0.0, 3.0, 12.0))
                one = task(
                    step,
                    user=chance.choice("abc"),
                    priority=chance.randrange(11),
                    created_at=now,
                    agent_name=chance.choice(("writer", "reader")),
                    next_attempt_at=chance.choice((None, later)),
                )
                waiting.put(one)
                there[one.task_id] = one
            case "remove" if there:
                task_id = chance.choice(list(there))
                waiting.remove(task_id)
                del there[task_id]
            case "serve":
                turns[user := chance.choice("abc")] = step + 1
                waiting.served(user, step + 1)
            case _:
                now += chance.choice((0.5, 4.0, 10.0))

        could = [one for one in there.values() if (one.next_attempt_at or 0) <= now]
        ranks = {(rank_of(one, could, now, turns), one.sequence): one for one in could}
        (first,) = waiting.ready(BOTH, now) or (None,)
        assert first is (ranks[min(ranks)] if ranks else None)
        found = {one.task_id for one in waiting.ready(BOTH, now, limit=99)}
        assert found == {one.task_id for one in could}
