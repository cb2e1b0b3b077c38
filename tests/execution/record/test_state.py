"""The folds: what each entry changes in what is known, and what goes at which bound."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from typing import Any

import pytest

from gateway.domain import breaker as breakers
from gateway.domain import task as tasks
from gateway.domain import worker as workers
from gateway.domain.breaker import Outcome
from gateway.domain.facts import (
    Failed,
    Finished,
    Started,
    StatusChanged,
)
from gateway.domain.packed import opened
from gateway.domain.queue import routes_of
from gateway.domain.settings import Settings
from gateway.domain.task import Task
from gateway.execution.record import state as state_module
from gateway.execution.record.order_keys import KEYS_AGE_S
from gateway.execution.record.snapshot import encode, restore
from gateway.execution.record.state import (
    FINISHED_AGE_S,
    State,
)
from tests.execution.record.story import Story

# --- tasks -----------------------------------------------------------------------------------


def test_a_task_is_live_until_it_has_ended() -> None:
    story = Story()
    task = story.submitted()
    state = story.state
    assert (state.live, state.running, state.queue_depth) == ({"t1": task}, 0, 1)
    story.started()
    assert (state.running, state.queue_depth) == (1, 0)
    story.failed()
    assert (state.running, state.queue_depth) == (0, 1)
    story.finished()
    assert (state.live, list(state.finished), state.queue_depth) == ({}, [task], 0)
    assert state.tasks == {"t1": task}


def test_what_is_told_after_the_end_moves_the_offset_and_nothing_else() -> None:
    story = Story()
    task = story.submitted()
    story.finished()
    story.started()
    assert (task.status, story.state.running, task.last_offset) == ("succeeded", 0, 3)


def test_an_entry_about_a_task_that_is_not_known_is_passed_over() -> None:
    """Its submission is older than what the log keeps."""
    story = Story()
    story.started("t9")
    assert (story.state.tasks, story.state.running) == ({}, 0)


def test_an_owner_is_named_only_of_a_known_task_or_worker() -> None:
    story = Story()
    story.submitted(user_id="bob")
    story.registered("w1")
    owners = {
        topic: story.state.owner_of(topic)
        for topic in ("task:t1", "task:t2", "recipient:w1", "recipient:bob", "user:bob", "system")
    }
    assert {topic: owner for topic, owner in owners.items() if owner is not None} == {
        "task:t1": "bob",
        "recipient:w1": "ann",
    }


def test_the_most_urgent_task_is_ready_first_then_the_oldest() -> None:
    story = Story()
    for task_id, priority in (("t1", 5), ("t2", 0), ("t3", 5), ("t4", 9)):
        story.submitted(task_id, priority=priority)
    story.started("t4")
    ready = story.state.queue.ready(
        routes_of(["search"]), story.at, fits=lambda task: task.task_id != "t3", limit=9
    )
    assert [task.task_id for task in ready] == ["t2", "t1"]


def test_a_task_that_waits_between_attempts_is_ready_when_its_time_has_come() -> None:
    story = Story()
    task = story.submitted()
    story.started()
    story.failed()
    story.of_task("recovery_attempt", attempt_number=1, backoff_delay=2.0, strategy="retry")
    due = story.at + 2.0

    def ready(now: float) -> list[Task]:
        return story.state.queue.ready(routes_of(["search"]), now)

    assert (ready(due - 0.001), ready(due)) == ([], [task])


def test_a_reserved_task_is_never_ready_for_others() -> None:
    story = Story()
    story.submitted(reserved_for="n1")
    assert story.state.queue.ready(routes_of(["search"]), story.at) == []


def test_the_tasks_of_a_holder_are_those_of_which_it_has_the_lease() -> None:
    story = Story()
    for task_id in ("t1", "t2", "t3"):
        story.submitted(task_id)
    story.started("t1", holder="w1")
    story.started("t2", holder="w2")
    assert [task.task_id for task in story.state.held_by("w1")] == ["t1"]
    story.finished("t1")
    assert story.state.held_by("w1") == []


def test_a_finished_task_is_known_for_a_day() -> None:
    story = Story()
    story.submitted()
    story.finished()
    story.state.expire(story.at + FINISHED_AGE_S)
    assert "t1" in story.state.tasks
    story.state.expire(story.at + FINISHED_AGE_S + 1)
    assert (story.state.tasks, list(story.state.finished)) == ({}, [])


def test_over_the_bound_the_task_that_ended_first_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state_module, "FINISHED_MAX", 2)
    story = Story()
    for task_id in ("t1", "t2", "t3"):
        story.submitted(task_id)
    for task_id in ("t3", "t1", "t2"):
        story.finished(task_id)
    assert list(story.state.tasks) == ["t1", "t2"]


@pytest.mark.parametrize("size", [0, 1000])
def test_ended_tasks_of_a_user_push_out_nobody_elses(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither many nor large ones."""
    monkeypatch.setattr(state_module, "FINISHED_MAX", 20)
    story = Story(finished_bytes=20_000 if size else 128 * 1024**2)
    for number in range(60):
        task_id, user = f"t{number}", "ann" if number < 3 else "mal"
        story.submitted(task_id, user_id=user, input="x" * size)
        story.finished(task_id)
    kept = [task.user_id for task in story.state.finished]
    assert kept[:3] == ["ann"] * 3
    assert 3 < len(kept) <= 20


def test_ended_tasks_take_no_more_memory_than_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON is counted, and JSON is kept: as objects this input takes 20 times as much."""
    bytes_max = 256 * 1024
    story = Story(finished_bytes=bytes_max)
    tracemalloc.start()
    try:
        for number in range(40):
            story.submitted(f"t{number}", input=[[[]] for _ in range(4_000)])
            story.finished(f"t{number}", result={"number": number})
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    state = story.state
    assert bytes_max * 0.8 < state.finished_bytes <= bytes_max
    assert 5 < len(state.finished) == len(state.tasks) < 40
    assert sum(task.weight for task in state.finished) == state.finished_bytes
    assert held < 1.25 * bytes_max
    last = state.tasks["t39"]
    assert opened(last.input) == [[[]] for _ in range(4_000)]
    assert last.result == {"number": 39}


# --- idempotency keys ------------------------------------------------------------------------


def test_a_key_stands_for_its_task_and_its_order_for_a_day() -> None:
    story = Story()
    story.submitted(key="k")
    given_at = story.at
    state = story.state
    assert state.keys.task_of("ann", "k") == ("t1", "print")
    state.expire(given_at + KEYS_AGE_S)
    assert state.keys.task_of("ann", "k") is not None
    state.expire(given_at + KEYS_AGE_S + 1)
    assert state.keys.task_of("ann", "k") is None


# --- breakers --------------------------------------------------------------------------------


def failure(breaker: str, generation: int = 0) -> Failed:
    return Failed(outcome=Outcome(breaker, generation, None, "failure"))


def test_an_outcome_is_counted_and_told_when_it_counts() -> None:
    story = Story()
    story.submitted()
    fact = failure("search")
    assert story.failed(fact=fact, error_type="timeout") == fact.outcome
    breaker = story.state.breakers["search"]
    assert (breaker.consecutive, breaker.scope, breaker.last_type) == (1, "agent", "timeout")


def test_an_outcome_of_another_opening_is_not_told() -> None:
    story = Story()
    story.submitted()
    assert story.failed(fact=failure("search", generation=4)) is None
    assert story.state.breakers["search"].consecutive == 0


def test_an_outcome_counts_though_its_task_is_not_known() -> None:
    """Every node counts the same, wherever its log begins."""
    story = Story()
    success = Finished(outcome=Outcome("model", 0, None, "success"))
    assert story.finished("t9", fact=success) == success.outcome
    assert story.state.breakers["model"].scope == "upstream"


def test_of_too_many_breakers_the_oldest_closed_one_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rather one that never opened: the log tells less of it."""
    monkeypatch.setattr(state_module, "BREAKERS_MAX", 3)
    story = Story()
    state = story.state
    about: dict[str, Any] = {"error_id": "b1", "breaker_version": 1}
    for name, opens, closes in (("a", True, True), ("b", True, False), ("c", False, False)):
        state.breaker(name, "agent")
        subject = breakers.subject_of(name)
        if opens:
            story.tell("circuit_breaker_triggered", subject, breaker=name, **about)
        if closes:
            story.tell("system_recovered", breakers.subject_of(name), scope="breaker")
    for name, left in (("d", ["a", "b", "d"]), ("e", ["a", "b", "e"])):
        state.breaker(name, "agent")
        assert list(state.breakers) == left
    state.breakers["e"].last_offset = 1
    state.breaker("f", "agent")
    assert list(state.breakers) == ["b", "e", "f"]


def test_a_breaker_opens_probes_and_closes_by_its_entries() -> None:
    story = Story(breaker_cooldown=7.0)
    subject = breakers.subject_of("search")
    story.tell(
        "circuit_breaker_triggered", subject, breaker="search", error_id="b1", breaker_version=1
    )
    breaker = story.state.breakers["search"]
    assert (breaker.state, breaker.version, breaker.rules.cooldown_s) == ("open", 1, 7.0)
    assert [one.error_id for one in story.state.failures] == ["b1"]
    story.tell("circuit_breaker_test_request", subject, test_request_id="p1", error_id="b1")
    assert (breaker.state, breaker.probes, breaker.last_offset) == ("half_open", {"p1"}, 2)
    story.tell("system_recovered", subject, error_id="b1", degradation_id=None)
    assert (breaker.state, breaker.last_offset) == ("closed", 3)
    assert not len(story.state.failures)


def test_a_breaker_that_is_asked_for_is_there_and_closed() -> None:
    story = Story()
    breaker = story.state.breaker("model", "upstream")
    assert (breaker.state, breaker.scope, breaker.last_offset) == ("closed", "upstream", 0)
    assert story.state.breaker("model", "agent") is breaker


# --- workers ---------------------------------------------------------------------------------


def test_a_worker_that_registers_again_keeps_its_status() -> None:
    """It gets well by its own event, which ends its failure."""
    story = Story()
    story.registered()
    subject = workers.subject_of("w1")
    story.tell("agent_status_changed", subject, StatusChanged(), status="unhealthy", error_id="e1")
    before = story.state.workers["w1"]
    assert (before.status, before.error_id) == ("unhealthy", "e1")
    story.registered()
    after = story.state.workers["w1"]
    assert after is not before
    assert (after.status, after.error_id, after.worse_since) == (
        "unhealthy",
        "e1",
        before.worse_since,
    )
    assert after.last_offset == 3


def test_the_end_of_an_attempt_is_part_of_its_workers_health_which_outlives_much() -> None:
    story = Story()
    story.registered()
    for task_id in ("t1", "t2"):
        story.submitted(task_id)
        story.started(task_id)
        story.failed(task_id, error_type="agent_lost", error_code="stalled", cause="agent_lost")
        story.finished(task_id, outcome="dead_lettered", reason="attempts_exhausted")
    health = story.state.workers["w1"].health
    assert 0.7 < health.failing == health.still < 0.8
    # What is told again after the end says nothing more.
    story.finished("t2")
    assert story.state.workers["w1"].health == health
    story.registered()
    again = story.state.workers["w1"].health
    assert again == health
    assert again is not health
    restored = Story().state
    restore(restored, encode(story.state))
    assert restored.workers["w1"].health == health
    story.submitted("t3")
    story.started("t3")
    story.finished("t3")
    assert again.failing < health.failing


def test_a_worker_that_has_said_goodbye_stays_known() -> None:
    story = Story()
    story.registered()
    subject = workers.subject_of("w1")
    story.tell("agent_status_changed", subject, StatusChanged(removed=True), status="offline")
    assert story.state.workers["w1"].removed


def test_a_change_of_a_worker_that_is_not_known_is_passed_over() -> None:
    story = Story()
    story.tell("agent_status_changed", workers.subject_of("w9"), StatusChanged())
    assert story.state.workers == {}


# --- open ends -------------------------------------------------------------------------------


def test_a_hidden_half_that_cannot_be_read_is_counted_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Story()
    with caplog.at_level(logging.WARNING):
        for task_id in ("t1", "t2"):
            subject = tasks.subject_of(task_id)
            story.tell("task_submitted", subject, {"v": 9, "colour": "red"}, task_id=task_id)
    assert story.state.unread.counts == {"task_submitted.colour": 2}
    assert len(caplog.records) == 1
    assert list(story.state.tasks) == ["t1", "t2"]


# --- recovery times --------------------------------------------------------------------------


def recovering(
    story: Story, task_id: str, *, after_s: float, mode: str = "primary", agent: str = "search"
) -> None:
    story.submitted(task_id, agent_name=agent)
    story.of_task("task_started", task_id, Started(1, "w1"), attempt=1, agent_name=agent)
    story.failed(task_id, error_type="timeout")
    if mode == "fallback":
        story.of_task("task_started", task_id, Started(term=2, holder="w1"), attempt=2, mode=mode)
        after_s -= 1.0
    story.of_task("system_recovered", task_id, error_id="e1", after_s=after_s)
    story.finished(task_id)


def test_a_recovery_time_is_known_when_three_were_seen() -> None:
    story = Story()
    for number, took_s in enumerate((9.0, 2.0)):
        recovering(story, f"t{number}", after_s=took_s)
    assert story.state.recoveries.median_s("search", "timeout") is None
    recovering(story, "t3", after_s=4.0)
    assert story.state.recoveries.median_s("search", "timeout") == 4.0
    assert story.state.recoveries.median_s("search", "rate_limit") is None


def test_an_answer_of_the_fallback_says_nothing_about_the_agents_recovery() -> None:
    story = Story()
    for number in range(3):
        recovering(story, f"t{number}", after_s=5.0, mode="fallback")
    assert list(story.state.recoveries) == []


# --- what is preserved -----------------------------------------------------------------------


def preserving(story: Story, **chars: int) -> None:
    for task_id, length in chars.items():
        story.submitted(task_id)
        story.started(task_id)
        story.produced(task_id, "x" * length)


def kept(story: Story) -> dict[str, int]:
    return {id: len(task.preserved.text) for id, task in story.state.tasks.items()}


def test_a_users_bound_is_kept_by_evicting_the_oldest() -> None:
    story = Story(partial_bytes_user=2000, partial_bytes_task=1000)
    preserving(story, t1=900, t2=900)
    assert kept(story) == {"t1": 900, "t2": 900}
    preserving(story, t3=900)
    assert kept(story) == {"t1": 0, "t2": 900, "t3": 900}


def test_what_ended_tasks_preserve_is_evicted_before_what_live_ones_do() -> None:
    story = Story(partial_bytes_user=2000, partial_bytes_task=1000)
    preserving(story, t1=900, t2=900)
    story.finished("t2")
    preserving(story, t3=900)
    assert kept(story) == {"t1": 900, "t2": 0, "t3": 900}


def test_a_task_is_not_evicted_for_what_it_has_just_produced() -> None:
    """One task over the user's bound is cut by its own bound, and not thrown away."""
    story = Story(partial_bytes_user=1000, partial_bytes_task=1000)
    preserving(story, t1=400, t2=900)
    assert kept(story) == {"t1": 0, "t2": 900}


def test_the_bound_of_all_users_evicts_across_users() -> None:
    story = Story(partial_bytes_user=1000, partial_bytes_all=1500, partial_bytes_task=1000)
    story.submitted("t1", user_id="bob")
    story.started("t1")
    story.produced("t1", "x" * 900)
    preserving(story, t2=900)
    assert kept(story) == {"t1": 0, "t2": 900}


def test_what_an_ended_task_preserves_is_kept_for_its_time() -> None:
    story = Story(partial_ttl=100.0)
    preserving(story, t1=10, t2=10)
    story.finished("t1")
    ended = story.at
    task = story.state.tasks["t1"]
    assert story.state.expires_at(task, story.at + 50) == ended + 100
    assert story.state.expires_at(story.state.tasks["t2"], story.at) == story.at + 100
    story.state.expire(ended + 100)
    assert kept(story) == {"t1": 10, "t2": 10}
    story.state.expire(ended + 101)
    assert kept(story) == {"t1": 0, "t2": 10}
    assert list(story.state.preserving) == ["t2"]


# --- beginning anew --------------------------------------------------------------------------


def test_a_state_that_is_cleared_is_as_before_the_first_entry() -> None:
    story = Story()
    story.registered()
    preserving(story, t1=10)
    story.failed("t9")
    story.state.clear()
    assert vars(story.state).keys() == vars(State(Settings())).keys()
    fresh = State(Settings())
    for name, value in vars(story.state).items():
        if name not in (
            "_settings",
            "unread",
            "keys",
            "locks",
            "dead_letters",
            "queue",
            "budgets",
            "holds",
            "concurrencies",
            "tally",
            "impacts",
            "open_ends",
            "recoveries",
            "threads",
            "causes",
        ):
            assert value == getattr(fresh, name), name
    assert (story.state.locks.by_key, len(story.state.queue)) == ({}, 0)
    assert story.state.dead_letters.by_task == {}
    assert vars(story.state.causes) == vars(fresh.causes)
    assert list(story.state.budgets) == []
    assert list(story.state.concurrencies) == []
    assert list(story.state.keys) == []
    assert list(story.state.recoveries) == []


def test_a_task_from_a_snapshot_counts_as_if_it_had_been_folded() -> None:
    story = Story()
    story.submitted("t1")
    story.started("t1")
    story.submitted("t2")
    story.finished("t2")
    again = State(Settings())
    for task in story.state.tasks.values():
        again.adopt(task)
    assert (list(again.tasks), list(again.live), again.running) == (["t1", "t2"], ["t1"], 1)
