"""Reading events: in order, in pages, as far as the caller may follow their topic."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from gateway.domain.access import LOCAL_OPERATOR, Caller
from gateway.domain.errors import InvalidParams, NotPermitted
from gateway.execution.handlers import events
from gateway.ports import Entry, EventLog
from tests.execution.hands import hand
from tests.execution.world import World

ANN = Caller("ann", frozenset({"events:read", "events:write", "tasks:write"}))
READER = Caller("monitoring", frozenset({"events:read:all"}))


async def listed(here: World, caller: Caller = ANN, **params: Any) -> list[tuple[str, int]]:
    """Types and offsets of one page."""
    answer = await here.call("event.list", caller, **params)
    return [(event["type"], event["offset"]) for event in answer["items"]]


async def note(here: World, **params: Any) -> str:
    """Publish a notification; gives its event id."""
    about = {"type": "notification", "subject": "s", "payload": 1, **params}
    event_id: str = (await here.call("event.publish", **about))["event_id"]
    return event_id


async def test_without_a_topic_a_user_reads_its_own_events_and_an_operator_all(
    here: World,
) -> None:
    for user in ("ann", "bob"):
        await here.submit("writer", user_id=user)
    await hand(here)  # bookkeeping, which only operators see
    assert await listed(here) == [("task_submitted", 1)]
    assert await listed(here, LOCAL_OPERATOR) == [
        ("task_submitted", 1),
        ("task_submitted", 2),
        ("agent_registered", 3),
    ]


async def test_detail_and_bookkeeping_are_for_operators(here: World) -> None:
    worker = await hand(here)
    task_id = await here.submit("writer", user_id="ann", max_attempts=1)
    await worker.claim()
    await worker.tell("task.release")
    await worker.claim()
    await worker.tell("task.fail", message="the reporter's own words")
    topic = f"task:{task_id}"
    seen = await here.call("event.list", ANN, topic=topic)
    shown = await here.call("event.list", topic=topic)
    assert "own words" not in str(seen)
    assert "own words" in str(shown)
    assert "lease_changed" not in [event["type"] for event in seen["items"]]
    assert "lease_changed" in [event["type"] for event in shown["items"]]


@pytest.mark.parametrize(
    ("params", "allowed"),
    [
        ({"topic": "user:ann"}, True),
        ({"topic": "user:bob"}, False),
        ({"topic": "system"}, True),
        ({"topic": "*"}, False),
        ({"topic": "task:unknown"}, False),
        ({"recipient_id": "ann"}, True),
        ({"recipient_id": "bob"}, False),
        ({"channel": "news"}, True),
        ({"topic": "channel:news", "recipient_id": "bob"}, False),
    ],
)
async def test_a_caller_reads_the_topics_that_it_may_follow(
    here: World, params: dict[str, Any], allowed: bool
) -> None:
    if allowed:
        await here.call("event.list", ANN, **params)
    else:
        with pytest.raises(NotPermitted) as refused:
            await here.call("event.list", ANN, **params)
        # The one that the caller has given; the last of two here.
        assert refused.value.field == [*params][-1]


async def test_events_are_chosen_by_all_that_is_named(here: World) -> None:
    first = await note(here, channel="news", recipient_id="ann")
    await note(here, channel="news")
    await note(here, recipient_id="ann", parent_event_id=first)
    await here.submit("writer", user_id="ann")
    assert await listed(here, channel="news") == [("notification", 1), ("notification", 2)]
    assert await listed(here, channel="news", recipient_id="ann") == [("notification", 1)]
    assert await listed(here, recipient_id="ann") == [("notification", 1), ("notification", 3)]
    # A thread is its first event and those that name it.
    thread = await listed(here, recipient_id="ann", parent_event_id=first)
    assert thread == [("notification", 1), ("notification", 3)]
    assert await listed(here, LOCAL_OPERATOR, type="task_submitted") == [("task_submitted", 4)]


BOB = Caller("bob", frozenset({"events:read", "events:write"}))
CY = Caller("cy", frozenset({"events:read", "events:write"}))


async def thread(here: World, caller: Caller, event_id: str, **params: Any) -> list[Any]:
    answer = await here.call("event.list", caller, parent_event_id=event_id, **params)
    return [event["payload"] for event in answer["items"]]


@pytest.mark.requirement("MESH-15")
async def test_a_thread_is_read_whole_by_those_who_are_in_it(here: World) -> None:
    """Its root and the replies to replies, in order; each reads what it sent or what it got."""

    async def say(caller: Caller, to: str, payload: int, parent: str | None = None) -> str:
        about: dict[str, Any] = {"recipient_id": to, "payload": payload, "subject": "s"}
        if parent is not None:
            about["parent_event_id"] = parent
        answer = await here.call("event.publish", caller, type="notification", **about)
        event_id: str = answer["event_id"]
        return event_id

    root = await say(ANN, "bob", 1)
    second = await say(BOB, "ann", 2, root)
    await say(CY, "ann", 0)
    third = await say(ANN, "bob", 3, second)
    await say(BOB, "cy", 4, root)
    for caller in (ANN, BOB, READER, LOCAL_OPERATOR):
        whole = [1, 2, 3] if caller is ANN else [1, 2, 3, 4]
        assert await thread(here, caller, root) == whole
    assert await thread(here, CY, root) == [4]
    assert await thread(here, ANN, second) == [2, 3]
    assert await thread(here, ANN, third) == [3]
    assert await thread(here, BOB, root, recipient_id="bob") == [1, 3]
    assert await thread(here, BOB, root, limit=2) == [1, 2]
    assert await thread(here, BOB, root, since="2") == [3, 4]
    assert await thread(here, BOB, "unknown") == []
    with pytest.raises(NotPermitted):
        await thread(here, CY, root, recipient_id="bob")


async def test_a_worker_reads_what_is_addressed_to_it_by_the_user_that_registered_it(
    here: World,
) -> None:
    worker = await hand(here)
    await note(here, recipient_id=worker.agent_id)
    found = await listed(here, worker.caller, recipient_id=worker.agent_id)
    assert found == [("notification", 2)]
    with pytest.raises(NotPermitted):
        await listed(here, ANN, recipient_id=worker.agent_id)


@pytest.mark.requirement("MESH-14")
async def test_paging_loses_nothing_of_a_thousand_events_of_one_moment(here: World) -> None:
    for number in range(1000):
        await note(here, recipient_id="ann", payload=number)
    assert len({event["timestamp"] for event in here.events}) == 1
    found: list[int] = []
    cursor: dict[str, Any] = {}
    while True:
        answer = await here.call("event.list", ANN, recipient_id="ann", limit=10, **cursor)
        found += [event["payload"] for event in answer["items"]]
        if answer["next"] is None:
            break
        cursor = {"cursor": answer["next"]}
    assert found == list(range(1000))


@pytest.mark.parametrize("limit", [1, 2, 5, 6])
async def test_pages_go_on_where_the_one_before_ended(here: World, limit: int) -> None:
    for _ in range(5):
        await here.submit("writer", user_id="ann")
    found: list[int] = []
    cursor: dict[str, Any] = {}
    while True:
        answer = await here.call("event.list", ANN, limit=limit, **cursor)
        found += [event["offset"] for event in answer["items"]]
        if answer["next"] is None:
            break
        cursor = {"cursor": answer["next"]}
    assert found == [1, 2, 3, 4, 5]


async def test_a_call_looks_at_so_many_entries_and_answers_with_a_cursor(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few it has found: the next call goes on from there."""
    monkeypatch.setattr(events, "BATCH", 2)
    monkeypatch.setattr(events, "SCAN_MAX", 4)
    for _ in range(5):
        await here.submit("writer", user_id="ann")
    first = await here.call("event.list", ANN, type="nothing")
    assert first == {"items": [], "next": f"{here.engine.log.epoch}:4"}
    second = await here.call("event.list", ANN, type="nothing", cursor=first["next"])
    assert second == {"items": [], "next": None}


class LookingLog:
    """The same log, which cannot find the entries of a topic and looks at all."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def scan(
        self, *, after: int, topics: Iterable[str] | None, limit: int
    ) -> tuple[list[Entry], int | None]:
        looked, end = await self._log.scan(after=after, topics=None, limit=limit)
        wanted = None if topics is None else set(topics)
        return [e for e in looked if wanted is None or not wanted.isdisjoint(e.topics)], end


async def test_a_topic_that_has_nothing_does_not_make_one_call_read_the_whole_log(
    open_world: Callable[..., Awaitable[World]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BATCH", 2)
    monkeypatch.setattr(events, "SCAN_MAX", 4)
    here = await open_world(wrap=LookingLog)
    for _ in range(9):
        await here.submit("writer", user_id="bob")
    await note(here, channel="news")
    for channel, found in (("news", [10]), ("nothing", [])):
        pages: list[list[int]] = []
        more: dict[str, str] = {}
        while not pages or more:
            answer = await here.call("event.list", ANN, channel=channel, **more)
            pages.append([event["offset"] for event in answer["items"]])
            more = {} if answer["next"] is None else {"cursor": answer["next"]}
        assert pages == [[], [], found]


async def test_a_reader_begins_after_a_position_of_this_log(here: World) -> None:
    for _ in range(3):
        await here.submit("writer", user_id="ann")
    epoch = here.engine.log.epoch
    for since in (f"{epoch}:2", "2"):
        assert await listed(here, since=since) == [("task_submitted", 3)]
    assert await listed(here, since="start") == await listed(here)
    with pytest.raises(InvalidParams):
        await here.call("event.list", ANN, cursor="start")
    for field in ("since", "cursor"):
        with pytest.raises(InvalidParams, match="another log") as refused:
            await here.call("event.list", ANN, **{field: "another:2"})
        assert refused.value.field == field
        with pytest.raises(InvalidParams):
            await here.call("event.list", ANN, **{field: f"{epoch}:x"})


async def test_a_caller_that_reads_all_sees_another_users_events_without_detail(
    here: World,
) -> None:
    await here.submit("writer", user_id="ann")
    assert await listed(here, READER, topic="user:ann") == [("task_submitted", 1)]
    with pytest.raises(NotPermitted):
        await here.call("event.list", READER, topic="*")
