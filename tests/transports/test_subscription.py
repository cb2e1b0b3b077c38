"""How a subscription starts: the verdict on its position, the replay's count, the snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

import orjson
import pytest

from gateway.app.clock import RandomIds, SystemClock
from gateway.attempts.agents import Agents
from gateway.domain.access import LOCAL_OPERATOR, Caller
from gateway.domain.errors import NotPermitted, Unavailable
from gateway.domain.events import topics_of
from gateway.domain.settings import Settings
from gateway.execution.engine import Engine
from gateway.execution.parts import Parts
from gateway.ports import Draft
from gateway.stores.memory import MemoryLog
from gateway.transports.follower import Audience, WebSocketForm
from gateway.transports.hub import READ_ENTRIES_MAX, Hub
from gateway.transports.subscription import Start, begin, check_topics

CLOCK = SystemClock()
ANN = Caller("ann", frozenset({"events:read"}))
FORM = WebSocketForm()
USERS = Audience(FORM, operator=False, types=None)
OPERATORS = Audience(FORM, operator=True, types=None)

Since = dict[str, Any] | Literal["start"] | None


class Place:
    """A log that keeps few events, the inside over it, and a hub that does not run."""

    def __init__(self, *, keeps: int = 10_000, lag_wait_s: float = 0.0) -> None:
        settings = Settings()
        self.log = MemoryLog(
            epoch="e", clock=CLOCK, events_max=keeps, bytes_max=10**9, age_max_s=1e6
        )
        parts = Parts(
            log=self.log, clock=CLOCK, ids=RandomIds(), settings=settings, agents=Agents()
        )
        self.engine = Engine(parts)
        self.hub = Hub(self.log, CLOCK, RandomIds(), settings, lag_wait_s=lag_wait_s)

    async def append(
        self, count: int = 1, *, user_id: str = "ann", operators_only: bool = False
    ) -> None:
        event = {"type": "notification", "user_id": user_id}
        draft = Draft(
            subject="event/1",
            type="notification",
            topics=topics_of(event),
            operators_only=operators_only,
            body=orjson.dumps(event),
        )
        await self.log.append([draft] * count)

    async def begin(
        self,
        since: Since,
        *topics: str,
        caller: Caller = LOCAL_OPERATOR,
        audience: Audience = OPERATORS,
        snapshot: bool = False,
    ) -> Start:
        return await begin(
            self.hub,
            self.engine,
            caller,
            topics=topics or ("user:ann",),
            audience=audience,
            since=since,
            snapshot=snapshot,
        )


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    it = Place(keeps=5)
    async with it.engine.running():
        yield it


def at(offset: int, epoch: str = "e") -> Since:
    return {"epoch": epoch, "offset": offset}


async def test_without_a_position_only_what_is_new_comes(place: Place) -> None:
    await place.append(3)
    start = await place.begin(None)
    assert start.after == 3
    assert start.result == {
        "epoch": "e",
        "offset": 3,
        "recovered": False,
        "was_recovering": False,
        "replayed": 0,
    }
    assert not place.hub.resumes


@pytest.mark.parametrize(
    ("since", "recovered", "after"),
    [
        # Ten events, of which 6 to 10 are kept: 5 is the last that misses none of them.
        (at(4), False, 10),
        (at(5), True, 5),
        (at(9), True, 9),
        (at(10), True, 10),
        (at(11), False, 10),
        (at(7, "other"), False, 10),
        ("start", True, 5),
    ],
)
async def test_a_position_is_resumed_only_if_every_later_event_is_kept(
    place: Place, since: Since, recovered: bool, after: int
) -> None:
    await place.append(10)
    start = await place.begin(since)
    assert (start.result["recovered"], start.after) == (recovered, after)
    assert start.result["replayed"] == (10 - after if recovered else 0)
    assert ("snapshot" in start.result) is not recovered
    assert place.hub.resumes == {"recovered" if recovered else "refused": 1}


async def test_the_replay_is_counted_with_the_subscribers_rights(place: Place) -> None:
    await place.append()
    await place.append(operators_only=True)
    await place.append(user_id="bob")
    await place.append(user_id="*")
    for audience, topics, count in (
        (USERS, ("user:ann",), 2),
        (OPERATORS, ("user:ann",), 3),
        (OPERATORS, ("*",), 4),
        (OPERATORS, ("task:none",), 0),
    ):
        start = await place.begin("start", *topics, audience=audience)
        assert start.result["replayed"] == count


@pytest.mark.parametrize("count", [READ_ENTRIES_MAX - 1, READ_ENTRIES_MAX, READ_ENTRIES_MAX + 1])
async def test_a_replay_of_any_length_is_counted_whole(count: int) -> None:
    it = Place()
    async with it.engine.running():
        await it.append(count)
        assert (await it.begin("start")).result["replayed"] == count


async def test_a_snapshot_is_given_when_it_is_asked_for(place: Place) -> None:
    start = await place.begin(None, "*", snapshot=True)
    assert start.result["snapshot"]["mode"] == "normal"


async def test_a_node_that_is_behind_waits_for_the_offset_or_says_so() -> None:
    it = Place(lag_wait_s=30.0)
    it.hub.look_s = 0.005
    async with it.engine.running():
        beginning = asyncio.create_task(it.begin(at(1)))
        await CLOCK.sleep(0)
        await it.append()
        assert (await beginning).result["recovered"] is True
        it.hub.lag_wait_s = 0.01
        with pytest.raises(Unavailable) as refused:
            await it.begin(at(2))
        assert refused.value.retry_after == 1.0
        # An offset of another epoch never comes here: that is a refusal to resume, at once.
        assert (await it.begin(at(2, "other"))).result["recovered"] is False
    assert it.hub.resumes == {"recovered": 1, "behind": 1, "refused": 1}


async def test_a_caller_may_follow_its_own_topics_only(place: Place) -> None:
    check_topics(place.engine, ANN, ("user:ann", "system"))
    check_topics(place.engine, LOCAL_OPERATOR, ("*", "user:bob", "task:none"))
    for topic in ("user:bob", "task:none", "*"):
        with pytest.raises(NotPermitted) as refused:
            check_topics(place.engine, ANN, ("user:ann", topic))
        assert refused.value.field == "topics"
