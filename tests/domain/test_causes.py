"""Causes: a failure goes back to one root, of the same user, and never to itself."""

from __future__ import annotations

from typing import Any

import event_schemas
from gateway.domain import task as tasks
from gateway.domain.causes import CHAIN_MAX, EVENT_IDS_MAX, NAMED, Causes
from gateway.domain.facts import Fact, Failed, Finished, Submitted
from gateway.domain.task import Task


class Room:
    """Tasks that are told what happens to them, and the causes that are known by it."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}
        self.causes = Causes()
        self.offset = 0

    def submitted(self, task_id: str, cause: str | None = None, *, user_id: str = "ann") -> Task:
        event = {
            **event_schemas.example("task_submitted"),
            "task_id": task_id,
            "user_id": user_id,
            "event_id": f"{task_id}-submitted",
            "causation_id": cause,
        }
        self.offset += 1
        task = tasks.submitted(event, Submitted(), at=0.0, offset=self.offset, bytes_max=1000)
        self.tasks[task_id] = task
        self.causes.came(task)
        return task

    def tell(self, type: str, task: Task, event_id: str, fact: Fact | None, **fields: Any) -> None:
        self.offset += 1
        event = {
            **event_schemas.example(type),
            "event_id": event_id,
            "task_id": task.task_id,
            **fields,
        }
        tasks.apply(task, event, fact, at=0.0, offset=self.offset)
        self.causes.told(task, event)

    def failed(self, task: Task, number: int = 1) -> str | None:
        """Fail, as the drafts tell it; gives what the failure goes back to."""
        root = self.root(task)
        event_id = f"{task.task_id}-error-{number}"
        self.tell("agent_error", task, event_id, Failed(root=root), error_id=f"{task.task_id}-id")
        return root

    def finished(self, task: Task, outcome: str) -> None:
        self.tell("task_finished", task, f"{task.task_id}-end", Finished(), outcome=outcome)

    def root(self, task: Task) -> str | None:
        return self.causes.root_of(task, self.tasks)


def test_a_task_or_any_event_of_its_life_names_it() -> None:
    room = Room()
    above = room.submitted("a")
    room.failed(above)
    room.finished(above, "failed")
    names = ("a", "a-submitted", "a-error-1", "a-end")
    below = [room.submitted(f"b{number}", name) for number, name in enumerate(names)]
    assert [room.root(task) for task in below] == ["a-error-1"] * 4
    assert set(event_schemas.TYPES) >= NAMED


def test_a_chain_goes_back_to_its_first_failure() -> None:
    room = Room()
    first = room.submitted("a")
    second = room.submitted("b", "a")
    third = room.submitted("c", "b")
    assert room.failed(first) is None
    assert room.failed(second) == "a-error-1"
    # The last error of the second names the second, and goes back to the first all the same.
    assert room.failed(third) == "a-error-1"
    fourth = room.submitted("d", "c-error-1")
    assert room.failed(fourth) == "a-error-1"
    shown = tasks.view(fourth)
    assert (shown["causation_id"], shown["error"]["causation_id"]) == ("c-error-1", "a-error-1")
    assert "causation_id" not in tasks.view(first)["error"]


def test_each_error_of_one_failure_goes_back_to_the_same() -> None:
    """A root is decided once: what fails later, higher up, did not cause what had failed before."""
    room = Room()
    above = room.submitted("a")
    below = room.submitted("b", "a")
    assert room.failed(below) is None
    room.failed(above)
    assert room.failed(below, 2) is None
    room.failed(above, 2)
    later = room.submitted("c", "a-error-2")
    assert room.failed(later) == "a-error-1"
    assert room.failed(later, 2) == "a-error-1"


def test_what_has_not_failed_is_passed_over_and_what_is_well_ends_the_search() -> None:
    room = Room()
    room.failed(room.submitted("a"))
    waits = room.submitted("b", "a")
    below = room.submitted("c", "b")
    assert room.root(below) == "a-error-1"
    room.finished(waits, "succeeded")
    assert room.root(below) is None
    assert room.root(room.submitted("d", "b-submitted")) is None
    room.finished(room.submitted("e", "a"), "cancelled")
    assert room.root(room.submitted("f", "e")) is None


def test_a_failure_that_is_over_causes_nothing() -> None:
    room = Room()
    above = room.submitted("a")
    room.failed(above)
    below = room.submitted("b", "a-error-1")
    assert room.root(below) == "a-error-1"
    room.tell("system_recovered", above, "a-well", None)
    assert room.root(below) is None


def test_only_what_belongs_to_the_same_user_is_followed() -> None:
    room = Room()
    room.failed(room.submitted("a", user_id="bob"))
    assert room.root(room.submitted("b", "a")) is None
    assert room.root(room.submitted("c", "a-error-1")) is None
    assert room.root(room.submitted("d", "nothing-known")) is None
    # Nor through a task of one's own that names another's.
    assert room.root(room.submitted("e", "b")) is None


def test_a_circle_has_an_end_and_nothing_is_its_own_cause() -> None:
    """A task_id that an idempotency key stands for can be named before the task is there."""
    room = Room()
    assert room.failed(room.submitted("a", "a")) is None
    first, second = room.submitted("b", "c"), room.submitted("c", "b")
    assert room.root(first) is room.root(second) is None
    assert room.failed(first) is None
    assert room.failed(second) == "b-error-1"
    assert room.failed(first, 2) is None


def test_a_chain_is_followed_up_to_a_bound() -> None:
    room = Room()
    room.failed(room.submitted("t0"))
    for number in range(1, CHAIN_MAX + 2):
        room.submitted(f"t{number}", f"t{number - 1}")
    assert room.root(room.tasks[f"t{CHAIN_MAX}"]) == "t0-error-1"
    assert room.root(room.tasks[f"t{CHAIN_MAX + 1}"]) is None


def test_of_a_task_so_many_events_are_known_the_newest() -> None:
    room = Room()
    above = room.submitted("a")
    for number in range(1, EVENT_IDS_MAX + 1):
        room.failed(above, number)
    assert len(above.event_ids) == EVENT_IDS_MAX
    assert room.root(room.submitted("b", "a-submitted")) is None
    assert room.root(room.submitted("c", f"a-error-{EVENT_IDS_MAX}")) == "a-error-1"


def test_nothing_is_kept_of_a_task_that_is_well_or_gone() -> None:
    room = Room()
    well, gone = room.submitted("a"), room.submitted("b")
    room.failed(gone)
    room.finished(well, "succeeded")
    assert well.event_ids == ()
    room.causes.went(gone)
    assert vars(room.causes) == {"_task_of": {}}
