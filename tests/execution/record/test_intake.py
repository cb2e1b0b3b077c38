"""The one write path: what may become an event, and the three ends of an append."""

from __future__ import annotations

import tracemalloc
from typing import Any

import orjson
import pytest

from gateway.attempts.tries import Tries
from gateway.domain.errors import (
    ExpectationFailed,
    InvalidEvent,
    NotFound,
    StoreUnavailable,
    TooLarge,
    Unavailable,
)
from gateway.domain.facts import Progressed
from gateway.execution.record.intake import (
    DETAIL_BYTES_MAX,
    ENVELOPE_BYTES_MAX,
    RACES_MAX,
    Decision,
)
from gateway.ports import Draft
from gateway.values import EVENT_BYTES_MAX
from tests.execution.record.room import RacingLog, Room, body_of, fact_of
from tests.execution.world import AwayLog, LateLog

TASK = "task/t1"


def progress(room: Room, **fields: Any) -> Draft:
    given = {"message": "m", "task_id": "t1", "user_id": "ann", "progress": 0.5, "step": None}
    return room.intake.draft("task_progress", TASK, **{**given, **fields})


# --- a draft ---------------------------------------------------------------------------------


def test_a_draft_is_a_whole_event_without_its_place() -> None:
    draft = progress(Room(), agent_name="search")
    assert (draft.subject, draft.type, draft.operators_only) == (TASK, "task_progress", False)
    assert set(draft.topics) == {"user:ann", "task:t1", "agent:search"}
    event = body_of(draft)
    assert (event["severity"], event["attempt"], event["progress"]) == ("info", None, 0.5)
    assert not {"epoch", "offset", "timestamp"} & event.keys()
    assert (draft.detail, draft.state) == (None, None)


def test_a_detail_is_bounded_whoever_has_written_it() -> None:
    """Its reporter may send a megabyte, which no store of several nodes would take."""
    draft = progress(Room(), detail={"said": {f"k{n}": "word " * 100 for n in range(1_000)}})
    assert DETAIL_BYTES_MAX / 8 < len(draft.detail or b"") <= DETAIL_BYTES_MAX
    said = orjson.loads(draft.detail or b"")["said"]
    assert said["k0"].startswith("word word")
    assert said["[truncated]"] == "[truncated]"


def test_detail_and_fact_stand_beside_the_event() -> None:
    draft = progress(Room(), detail={"why": "secret"}, fact=Progressed(retry_now=True))
    assert orjson.loads(draft.detail or b"") == {"why": "secret"}
    assert fact_of(draft) == {"retry_now": True}
    assert "secret" not in draft.body.decode()


def test_bookkeeping_is_for_operators_only() -> None:
    room = Room()
    draft = room.intake.draft(
        "lease_changed",
        TASK,
        message="m",
        task_id="t1",
        attempt=1,
        agent_id="w1",
        term=1,
        action="released",
        expires_at=None,
    )
    assert draft.operators_only


def test_each_draft_has_an_id_of_its_own() -> None:
    room = Room()
    assert body_of(progress(room))["event_id"] != body_of(progress(room))["event_id"]


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [("progress", 2, "maximum"), ("severity", "loud", "enum"), ("step", 7, "type")],
)
def test_an_event_that_breaks_its_schema_is_refused_with_field_and_rule(
    field: str, value: Any, rule: str
) -> None:
    with pytest.raises(InvalidEvent) as refused:
        progress(Room(), **{field: value})
    assert refused.value.field == field
    assert f"task_progress: {field}: " in str(refused.value)
    assert f"(rule {rule}); see /schemas/task_progress.json" in str(refused.value)


def test_an_event_with_a_foreign_field_is_refused() -> None:
    with pytest.raises(InvalidEvent):
        progress(Room(), colour="red")


def test_an_event_is_taken_up_to_its_bound_and_not_one_byte_over() -> None:
    room = Room()

    def partial(text: str) -> Draft:
        return room.intake.draft(
            "task_finished",
            TASK,
            message="m",
            user_id="ann",
            task_id="t1",
            agent_name="search",
            attempt=1,
            outcome="succeeded",
            degraded=False,
            served_by="search",
            result=text,
            error_id=None,
            reason=None,
            duration=1.0,
            attempts_made=1,
        )

    bytes_max = EVENT_BYTES_MAX + ENVELOPE_BYTES_MAX
    room_left = bytes_max - len(partial("").body)
    assert len(partial("x" * room_left).body) == bytes_max
    with pytest.raises(TooLarge, match=f"has {bytes_max + 1} bytes, it may have {bytes_max}$"):
        partial("x" * (room_left + 1))


# --- an append -------------------------------------------------------------------------------


async def test_an_append_is_folded_when_it_returns() -> None:
    room = Room()
    task = await room.task()
    offset = await room.intake.append([room.task_drafts.finished(task, "failed", reason="r")])
    assert (offset, room.state.tasks[task.task_id].status) == (2, "failed")


async def test_the_log_holds_about_as_much_memory_as_it_counts() -> None:
    room = Room()
    taken = room.entries
    tracemalloc.start()
    try:
        for number in range(500):
            fact = Progressed(plan=(f"step {number}",))
            await room.intake.append([progress(room, fact=fact)])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(taken) == 500
    beside = 1_000  # objects of an entry, its place in the indexes; the room keeps it as well
    assert held < sum(entry.size + beside for entry in taken)


async def test_an_append_that_expected_another_offset_leaves_nothing() -> None:
    room = Room()
    await room.intake.append([progress(room)])
    drafts = [progress(room), progress(room)]
    with pytest.raises(ExpectationFailed) as lost:
        await room.intake.append(drafts, expected={TASK: 0})
    assert (lost.value.subject, room.log.head) == (TASK, 1)
    assert await room.intake.append(drafts, expected={TASK: 1}) == 3


async def test_a_store_that_is_away_has_written_nothing_and_says_so() -> None:
    room = Room(wrap=AwayLog)
    room.log.away = True  # type: ignore[attr-defined]
    with pytest.raises(Unavailable, match="nothing was written") as refused:
        await room.intake.append([progress(room)])
    assert refused.value.retry_after == 1.0


async def test_a_store_that_gives_no_answer_leaves_it_open_and_says_so() -> None:
    room = Room(wrap=LateLog)
    room.log.late = True  # type: ignore[attr-defined]
    with pytest.raises(Unavailable, match="is not known: ask again under the same idempotency key"):
        await room.intake.append([progress(room)])


async def test_the_stores_own_retry_after_is_passed_on() -> None:
    class Busy(AwayLog):
        async def append(self, *args: Any, **kwargs: Any) -> int:
            raise StoreUnavailable("busy", retry_after=7.0)

    room = Room(wrap=Busy)
    with pytest.raises(Unavailable) as refused:
        await room.intake.append([progress(room)])
    assert refused.value.retry_after == 7.0


async def test_a_beginning_without_an_answer_is_undone_when_it_turns_up() -> None:
    """Only the last draft is one: what stands before it takes a permit, or tells of a loss."""
    room = Room(wrap=LateLog)
    room.log.late = True  # type: ignore[attr-defined]
    first, last = progress(room), progress(room)
    with pytest.raises(Unavailable):
        await room.intake.append([first, last], begins=True)
    await room.log.arrive()  # type: ignore[attr-defined]
    assert room.undone == [body_of(last)["event_id"]]


async def test_a_try_without_an_answer_has_landed_when_it_turns_up() -> None:
    room = Room(wrap=LateLog)
    room.log.late = True  # type: ignore[attr-defined]
    tries = Tries()
    with pytest.raises(Unavailable):
        await room.intake.append([progress(room)], tries=tries)
    before = tries.landed
    await room.log.arrive()  # type: ignore[attr-defined]
    assert (before, tries.landed) == (False, True)
    assert room.undone == []


# --- a decision ------------------------------------------------------------------------------


class Deciding:
    """Decides that the task has moved on, on the subject's last offset; counts the rounds."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.lost: list[ExpectationFailed | None] = []

    def __call__(self, lost: ExpectationFailed | None) -> Decision:
        self.lost.append(lost)
        return [progress(self.room)], {TASK: self.room.log.last_offset(TASK)}


def racing(races: int) -> Room:
    room = Room(wrap=RacingLog)
    room.log.rival = progress(room)  # type: ignore[attr-defined]
    room.log.races = races  # type: ignore[attr-defined]
    return room


async def test_a_decision_is_appended_once() -> None:
    room = Room()
    decide = Deciding(room)
    assert await room.intake.decide(decide, about="t1")
    assert (decide.lost, room.log.head) == ([None], 1)


@pytest.mark.parametrize("races", [1, RACES_MAX - 1])
async def test_a_decision_is_made_again_after_each_lost_race(races: int) -> None:
    room = racing(races)
    decide = Deciding(room)
    assert await room.intake.decide(decide, about="t1")
    first, *later = decide.lost
    assert first is None
    assert [lost.subject for lost in later if lost] == [TASK] * races
    assert room.log.head == races + 1


async def test_a_decision_that_loses_every_race_is_given_up() -> None:
    room = racing(RACES_MAX)
    decide = Deciding(room)
    with pytest.raises(Unavailable, match="t1 changes faster than it can be decided"):
        await room.intake.decide(decide, about="t1")
    assert (len(decide.lost), room.log.head) == (RACES_MAX, RACES_MAX)


async def test_a_decision_that_nothing_has_to_be_done_appends_nothing() -> None:
    room = Room()
    assert not await room.intake.decide(lambda lost: None, about="t1")
    assert room.log.head == 0


async def test_what_a_decision_raises_ends_it() -> None:
    room = Room()

    def decide(lost: ExpectationFailed | None) -> Decision:
        raise NotFound("there is no task t1")

    with pytest.raises(NotFound):
        await room.intake.decide(decide, about="t1")


async def test_nothing_is_decided_once_a_try_has_landed() -> None:
    room = Room()
    decide = Deciding(room)
    assert not await room.intake.decide(decide, about="t1", tries=Tries(landed=True))
    assert (decide.lost, room.log.head) == ([], 0)


async def test_a_try_that_lands_between_two_rounds_ends_the_decision() -> None:
    """The race was lost to an earlier try of the same event."""
    tries = Tries()
    room = racing(1)
    inner = Deciding(room)

    def decide(lost: ExpectationFailed | None) -> Decision:
        tries.landed = True
        return inner(lost)

    assert not await room.intake.decide(decide, about="t1", tries=tries)
    assert (len(inner.lost), room.log.head) == (1, 1)
