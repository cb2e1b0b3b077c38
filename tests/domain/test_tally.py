"""The tally: each task counts in one place, where it is now, until it is let go of."""

from __future__ import annotations

import pytest

from gateway.domain import tally as tally_module
from gateway.domain.preserved import Preserved
from gateway.domain.tally import Tally, place_of
from gateway.domain.task import Task


def task(user_id: str = "ann", agent_name: str | None = "writer", **changes: object) -> Task:
    made = Task(
        task_id="t",
        user_id=user_id,
        agent_name=agent_name,
        capability=None,
        priority=5,
        input=None,
        timeout_s=300.0,
        max_attempts=3,
        created_at=0.0,
        sequence=1,
        preserved=Preserved(bytes_max=1000),
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_task_counts_where_it_is_now() -> None:
    tally, one = Tally(), task()
    tally.came(one)
    assert (tally.by_status["pending"], tally.by_agent(), tally.users) == (1, {"writer": 1}, 1)
    before = place_of(one)
    one.status, one.domain = "running", "zone-a"
    tally.changed(one, before)
    assert (tally.by_status["pending"], tally.by_status["running"]) == (0, 1)
    assert tally.by_domain() == {"zone-a": {"open": 1, "finished": 0, "failed": 0}}
    before = place_of(one)
    one.status = "dead_lettered"
    tally.changed(one, before)
    assert tally.by_user() == {"ann": {"open": 0, "finished": 1, "failed": 1}}
    tally.went(one)
    assert (tally.by_agent(), tally.by_domain(), tally.by_user(), tally.users) == ({}, {}, {}, 0)


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        ("pending", (1, 0, 0)),
        ("running", (1, 0, 0)),
        ("waiting", (1, 0, 0)),
        ("succeeded", (0, 1, 0)),
        ("cancelled", (0, 1, 0)),
        ("failed", (0, 1, 1)),
        ("dead_lettered", (0, 1, 1)),
    ],
)
def test_open_finished_and_failed(status: str, counts: tuple[int, int, int]) -> None:
    tally = Tally()
    tally.came(task(status=status))
    assert tuple(tally.by_user()["ann"].values()) == counts


def test_a_change_that_moves_nothing_counts_nothing() -> None:
    tally, one = Tally(), task(agent_name=None)
    tally.came(one)
    before = place_of(one)
    one.progress = 0.5
    tally.changed(one, before)
    assert (tally.by_status["pending"], tally.by_agent()) == (1, {})


def test_of_many_those_are_listed_whose_tasks_came_or_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tally_module, "LISTED_MAX", 2)
    tally, tasks = Tally(), [task(user) for user in ("ann", "bob", "cy")]
    for one in tasks:
        tally.came(one)
    before = place_of(tasks[0])
    tasks[0].status = "cancelled"
    tally.changed(tasks[0], before)
    assert list(tally.by_user()) == ["ann", "cy"]
    assert tally.users == 3
