"""The reducer, a fold over events and snapshots. It is pure, so the tests need no gateway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from playwright.async_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# Each step is [function, …arguments]. The state goes through all of them, and its maps come back
# as objects. `frozen` makes a change to an earlier state an exception.
FOLD = """
async (steps) => {
  const reducer = await import("/client/gateway-client.js");
  const frozen = (value) => {
    for (const part of value instanceof Map ? value.values() : Object.values(value))
      if (part !== null && typeof part === "object") frozen(part);
    return Object.freeze(value);
  };
  let state = frozen(reducer.emptyState());
  for (const [name, ...given] of steps) {
    if (name === "fromSnapshot") state = reducer.fromSnapshot(...given, state);
    else state = reducer[name](state, ...given);
    frozen(state);
  }
  const plain = Object.entries(state).map(([name, value]) =>
    [name, value instanceof Map ? Object.fromEntries(value) : value]);
  return Object.fromEntries(plain);
}
"""
START = "2026-11-22T05:04:54.000Z"


async def fold(page: Page, *steps: Sequence[Any]) -> dict[str, Any]:
    state: dict[str, Any] = await page.evaluate(FOLD, list(steps))
    return state


def stream(*events: tuple[str, Mapping[str, Any]], first: int = 1) -> list[dict[str, Any]]:
    """Stamp events as a log does."""
    return [
        {"type": type, "epoch": "e1", "offset": first + at, "timestamp": START, **fields}
        for at, (type, fields) in enumerate(events)
    ]


def of_task(attempt: int | None = None, **fields: Any) -> dict[str, Any]:
    return {"task_id": "t", "agent_name": "writer", "attempt": attempt, **fields}


FAILURE = {
    "error_id": "f1",
    "error_type": "timeout",
    "error_code": "llm_timeout",
    "user_message": "It took too long.",
    "suggested_action": "wait",
    "retry_possible": True,
    "will_retry": True,
}
FAILED_ONCE = stream(
    ("task_submitted", of_task(max_attempts=3)),
    ("task_started", of_task(1)),
    ("partial_result", of_task(1, text="One. ", piece=1)),
    ("partial_result", of_task(1, step="outline", data=[1], piece=2)),
    ("partial_result_preserved", of_task(1, preserved_text="One. ", lost_data=["review"])),
    ("agent_error", of_task(1, **FAILURE)),
    ("recovery_attempt", of_task(2, next_attempt_at=START, strategy="exponential_backoff")),
)
RECOVERED = stream(
    ("task_started", of_task(2)),
    ("partial_result", of_task(2, text="Two.", piece=3)),
    ("system_recovered", of_task(2, error_id="f1", scope="task")),
    ("task_finished", of_task(2, outcome="succeeded", error_id="f1", result="One. Two.")),
    first=8,
)


async def test_a_failure_is_open_until_its_task_recovers(blank_page: Page) -> None:
    state = await fold(blank_page, ["reduceAll", FAILED_ONCE])
    assert list(state["failures"]) == ["f1"]
    task = state["tasks"]["t"]
    assert task["status"] == "waiting"
    assert task["next"]["at"] == START
    assert task["attempts"][0]["error"]["user_message"] == "It took too long."
    assert task["preserved"]["lost"] == ["review"]
    state = await fold(blank_page, ["reduceAll", FAILED_ONCE], ["reduceAll", RECOVERED])
    assert state["failures"] == {}
    assert state["tasks"]["t"]["status"] == "succeeded"


async def test_each_attempts_text_is_a_part_of_one_continuing_text(blank_page: Page) -> None:
    state = await fold(blank_page, ["reduceAll", FAILED_ONCE], ["reduceAll", RECOVERED])
    assert state["tasks"]["t"]["text"] == [
        {"attempt": 1, "fallback": False, "text": "One. "},
        {"attempt": 2, "fallback": False, "text": "Two."},
    ]


async def test_why_a_task_does_not_move_is_kept_until_it_moves(blank_page: Page) -> None:
    wait: dict[str, Any] = {"waits_for": "breaker", "name": "writer", "until": START}
    held = FAILED_ONCE + stream(("task_waiting", of_task(**wait)), first=8)
    expected = {"for": "breaker", "name": "writer", "until": START, "similar": []}
    state = await fold(blank_page, ["reduceAll", held])
    task = state["tasks"]["t"]
    assert (task["status"], task["waiting"]) == ("waiting", expected)
    moved = stream(("task_started", of_task(2)), first=9)
    assert (await fold(blank_page, ["reduceAll", held + moved]))["tasks"]["t"]["waiting"] is None
    snapshot = {
        "tasks": [{"task_id": "t", "status": "pending", "waiting_for": wait}],
        "mode": "normal",
    }
    for waiting_for, shown in ((wait, expected), (None, None)):
        snapshot["tasks"][0]["waiting_for"] = waiting_for  # type: ignore[index]
        position = {"epoch": "e1", "offset": 8}
        state = await fold(blank_page, ["fromSnapshot", snapshot, position])
        assert state["tasks"]["t"]["waiting"] == shown


async def test_events_one_by_one_and_all_at_once_give_the_same_state(blank_page: Page) -> None:
    events = FAILED_ONCE + RECOVERED
    at_once = await fold(blank_page, ["reduceAll", events])
    assert await fold(blank_page, *(["reduce", event] for event in events)) == at_once


async def test_an_event_that_comes_twice_counts_once(blank_page: Page) -> None:
    once = await fold(blank_page, ["reduceAll", FAILED_ONCE])
    assert await fold(blank_page, ["reduceAll", FAILED_ONCE], ["reduceAll", FAILED_ONCE]) == once


async def test_only_a_cleanup_changes_a_task_that_has_ended(blank_page: Page) -> None:
    late = stream(
        ("task_progress", of_task(2, progress=0.1, step="late")),
        ("resource_cleanup", of_task(2, cleanup_status="success", resources_cleaned=["locks"])),
        first=20,
    )
    state = await fold(blank_page, ["reduceAll", FAILED_ONCE + RECOVERED + late])
    task = state["tasks"]["t"]
    assert (task["status"], task["progress"]) == ("succeeded", 1)
    assert task["cleanup"]["status"] == "success"


async def test_unknown_event_types_and_fields_are_ignored(blank_page: Page) -> None:
    """A later gateway may say more. ``constructor`` is a name that every object has."""
    unknown = stream(("constructor", of_task()), ("agent_sang", of_task(song="la")), first=8)
    state = await fold(blank_page, ["reduceAll", FAILED_ONCE + unknown])
    assert state["tasks"]["t"]["status"] == "waiting"
    assert len(state["events"]) == 9


async def test_events_before_a_snapshot_are_history(blank_page: Page) -> None:
    """The snapshot holds their outcome; folding them again would make the past the present."""
    snapshot = {"mode": "normal", "tasks": [{"task_id": "t", "status": "running", "attempt": 2}]}
    at = {"epoch": "e1", "offset": 7}
    state = await fold(blank_page, ["fromSnapshot", snapshot, at], ["reduceAll", FAILED_ONCE])
    assert state["tasks"]["t"]["status"] == "running"
    assert state["failures"] == {}
    assert [event["offset"] for event in state["events"]] == [1, 2, 3, 4, 5, 6, 7]


async def test_older_events_find_their_place_in_the_list(blank_page: Page) -> None:
    state = await fold(
        blank_page,
        ["reduceAll", FAILED_ONCE[3:]],
        ["addHistory", FAILED_ONCE[:5]],
        ["addHistory", []],
    )
    assert [event["offset"] for event in state["events"]] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(("epoch", "status"), [("e1", "unknown"), ("e2", "lost")])
async def test_an_open_task_that_a_snapshot_does_not_know(
    blank_page: Page, epoch: str, status: str
) -> None:
    """In the same log the task has ended and can be asked for; in a new log it is gone."""
    snapshot: dict[str, Any] = {"tasks": []}
    known = stream(("task_started", {"task_id": "other", "attempt": 1}), first=12)
    state = await fold(
        blank_page,
        ["reduceAll", FAILED_ONCE + RECOVERED + known],
        ["fromSnapshot", snapshot, {"epoch": epoch, "offset": 90}],
    )
    assert state["tasks"]["other"]["status"] == status
    assert state["tasks"]["t"]["status"] == "succeeded"
    record = {"task_id": "other", "status": "failed"}
    state = await fold(
        blank_page,
        ["reduceAll", known],
        ["fromSnapshot", snapshot, {"epoch": epoch, "offset": 90}],
        ["withTasks", [record]],
    )
    assert state["tasks"]["other"]["status"] == ("failed" if status == "unknown" else "lost")


async def test_a_snapshots_preview_says_how_much_is_before_it(blank_page: Page) -> None:
    """And what streams on is appended to it. The gateway counts characters, not their halves."""
    preserved = {"steps": ["outline"], "text_preview": "end 🙂", "text_length": 105}
    task = {"task_id": "t", "status": "running", "attempt": 1, "preserved": preserved}
    state = await fold(
        blank_page,
        ["fromSnapshot", {"tasks": [task]}, {"epoch": "e1", "offset": 4}],
        ["reduceAll", stream(("partial_result", of_task(1, text=" on")), first=5)],
    )
    shown = state["tasks"]["t"]
    assert shown["text"] == [{"attempt": 1, "fallback": False, "text": "end 🙂 on"}]
    assert shown["text_dropped"] == 100
    assert list(shown["preserved"]["steps"]) == ["outline"]


async def test_a_failure_beside_an_attempt_is_open_and_the_attempt_goes_on(
    blank_page: Page,
) -> None:
    beside = {**FAILURE, "error_code": "background_failure", "will_retry": False}
    events = stream(("task_started", of_task(1)), ("agent_error", of_task(1, **beside)))
    state = await fold(blank_page, ["reduceAll", events])
    task = state["tasks"]["t"]
    assert (task["status"], task["error"]) == ("running", None)
    assert [one["status"] for one in task["attempts"]] == ["running"]
    assert list(state["failures"]) == ["f1"]


async def test_text_that_begins_anew_is_shown_alone(blank_page: Page) -> None:
    """An attempt that starts over says so with its first piece, also after a cut at the bound."""
    long = [("partial_result", of_task(1, text="x" * 90_000))] * 3
    events = stream(
        ("task_started", of_task(1)),
        *long,
        ("task_started", of_task(2)),
        ("partial_result", of_task(2, text="Here is the ", replaces=True)),
        ("partial_result", of_task(2, text="plan")),
    )
    state = await fold(blank_page, ["reduceAll", events])
    shown = state["tasks"]["t"]
    assert shown["text"] == [{"attempt": 2, "fallback": False, "text": "Here is the plan"}]
    assert shown["text_dropped"] == 0


async def test_a_breaker_opens_is_tested_and_closes(blank_page: Page) -> None:
    about = {"breaker": "writer", "error_id": "b1", "probe_at": START, "user_id": "*"}
    events = stream(
        ("circuit_breaker_triggered", {**about, "scope": "agent", "fallback_active": True}),
        ("circuit_breaker_test_request", {**about, "task_id": "t"}),
        ("system_recovered", {"error_id": "b1", "scope": "breaker", "user_id": "*"}),
    )
    states = [
        (await fold(blank_page, ["reduceAll", events[:many]]))["breakers"]["writer"]["state"]
        for many in (1, 2, 3)
    ]
    assert states == ["open", "half_open", "closed"]


async def test_a_domain_and_an_agent_of_one_name_have_a_breaker_each(blank_page: Page) -> None:
    opened = {"breaker": "writer", "probe_at": START, "user_id": "*"}
    of_domain = {**opened, "error_id": "d1", "domain": "writer"}
    events = stream(
        ("circuit_breaker_triggered", {**opened, "error_id": "b1", "scope": "agent"}),
        ("circuit_breaker_triggered", {**of_domain, "scope": "domain"}),
        ("circuit_breaker_test_request", {**of_domain, "task_id": "t"}),
        ("system_recovered", {"error_id": "d1", "scope": "domain", "user_id": "*"}),
    )
    seen = []
    for many in (2, 3, 4):
        breakers = (await fold(blank_page, ["reduceAll", events[:many]]))["breakers"]
        seen.append([breakers[key]["state"] for key in ("writer", "domain/writer")])
    assert seen == [["open", "open"], ["open", "half_open"], ["open", "closed"]]
    # A snapshot tells them apart in the same way.
    listed = [{"name": "writer", "scope": scope, "state": "open"} for scope in ("agent", "domain")]
    state = await fold(
        blank_page, ["fromSnapshot", {"breakers": listed}, {"epoch": "e1", "offset": 4}]
    )
    assert list(state["breakers"]) == ["writer", "domain/writer"]


async def test_a_degradation_lasts_until_its_own_recovery(blank_page: Page) -> None:
    begun = {"error_id": "d1", "degradation_id": "d", "scope": "gateway", "mode": "degraded"}
    other = {"error_id": "d2", "degradation_id": "x", "scope": "agent:writer", "mode": "fallback"}
    events = stream(
        ("graceful_degradation", begun),
        ("graceful_degradation", other),
        ("system_recovered", {"error_id": "d2", "degradation_id": "x", "scope": "agent"}),
        ("system_recovered", {"error_id": "d1", "degradation_id": "d", "scope": "mode"}),
    )
    seen = [await fold(blank_page, ["reduceAll", events[:many]]) for many in (1, 2, 3, 4)]
    assert [list(state["degradations"]) for state in seen] == [["d"], ["d", "x"], ["d"], []]
    assert [state["mode"] for state in seen] == ["degraded", "degraded", "degraded", "normal"]


async def test_the_end_of_a_degradation_is_a_notice(blank_page: Page) -> None:
    """Of one that was known: a page that comes later has nothing to be told of."""
    begun = {"error_id": "d1", "degradation_id": "d", "scope": "gateway", "mode": "degraded"}
    over = {"error_id": "d1", "degradation_id": "d", "scope": "mode"}
    events = stream(("graceful_degradation", begun), ("system_recovered", over))
    known = await fold(blank_page, ["reduceAll", events])
    assert [notice["type"] for notice in known["notices"]] == ["system_recovered"]
    assert (await fold(blank_page, ["reduceAll", events[1:]]))["notices"] == []


async def test_refusals_for_one_reason_are_one_notice(blank_page: Page) -> None:
    """An overload refuses a thousand times; nothing else would be seen."""
    refused = {"user_id": "ann", "agent_name": "writer", "reason": "degraded_mode"}
    events = stream(
        ("request_rejected", {**refused, "count": 3}),
        ("notification", {"subject": "hello"}),
        ("request_rejected", {**refused, "count": 4}),
        ("request_rejected", {**refused, "user_id": "ben", "count": 1}),
    )
    notices = (await fold(blank_page, ["reduceAll", events]))["notices"]
    assert [(notice["offset"], notice.get("count")) for notice in notices] == [
        (2, None),
        (3, 7),
        (4, 1),
    ]


async def test_of_too_many_tasks_the_oldest_ended_one_goes(blank_page: Page) -> None:
    """A user still waits for a task that is open."""
    ends = [
        ("task_finished", {"task_id": f"t{number}", "outcome": "failed"}) for number in range(1, 4)
    ]
    starts = [("task_started", {"task_id": f"t{number}"}) for number in range(501)]
    events = stream(("task_started", {"task_id": "t0"}), *ends, *starts[4:])
    state = await fold(blank_page, ["reduceAll", events])
    assert len(state["tasks"]) == 500
    assert "t0" in state["tasks"]
    assert "t1" not in state["tasks"]
    assert state["dropped"] == {"tasks": 1}


async def test_of_too_many_events_the_newest_stay(blank_page: Page) -> None:
    many = stream(*[("notification", {"subject": "x"})] * 2000)
    state = await fold(blank_page, ["reduceAll", many])
    assert 1000 <= len(state["events"]) <= 1100
    assert state["events"][-1]["offset"] == 2000
    assert len(state["events"]) + state["dropped"]["events"] == 2000
    assert len(state["notices"]) == 50


async def test_of_too_much_text_the_end_stays(blank_page: Page) -> None:
    text = stream(
        ("task_started", of_task(1)), *[("partial_result", of_task(1, text="x" * 90_000))] * 3
    )
    task = (await fold(blank_page, ["reduceAll", text]))["tasks"]["t"]
    assert len(task["text"][0]["text"]) == 262_144
    assert task["text_dropped"] == 270_000 - 262_144


async def test_workers_are_as_the_list_says_and_change_by_events(blank_page: Page) -> None:
    """A list replaces what was known: a worker that is not in it is gone."""
    listed = {"agent_id": "w1", "handle": "quill", "agents": ["poet"], "status": "healthy"}
    events = stream(
        ("agent_registered", {"agent_id": "w2", "handle": "pencil", "agents": ["poet"]}),
        ("agent_status_changed", {"agent_id": "w1", "status": "suspect", "reason": "silent"}),
    )
    state = await fold(blank_page, ["withAgents", [listed], 5], ["reduceAll", events])
    workers = {key: (w["handle"], w["status"]) for key, w in state["agents"].items()}
    assert workers == {"w1": ("quill", "suspect"), "w2": ("pencil", "healthy")}
    state = await fold(blank_page, ["reduceAll", events], ["withAgents", [listed], 5])
    assert list(state["agents"]) == ["w1"]
    assert state["agents"]["w1"]["seen_at"] == 5


async def test_a_task_that_was_passed_on_knows_its_worker(blank_page: Page) -> None:
    moved = stream(
        ("task_reassigned", of_task(2, previous_agent_id="w1", new_agent_id="w2", reason="lost")),
        ("task_started", of_task(2, agent_id="w2")),
        first=8,
    )
    task = (await fold(blank_page, ["reduceAll", FAILED_ONCE + moved]))["tasks"]["t"]
    assert (task["agent_id"], task["status"]) == ("w2", "running")
    assert task["reassigned"] == {"from": "w1", "to": "w2", "reason": "lost"}
