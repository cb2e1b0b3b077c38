"""Waiting until this node has read the log as far as a caller knows it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.domain.errors import InvalidParams, Unavailable
from gateway.execution.record.reach import READ_WAIT_S, Reach
from tests.execution.world import VirtualClock


class Log:
    """As much of a log as is asked: its name, and how far it has been read."""

    epoch = "e1"

    def __init__(self, head: int = 0) -> None:
        self.head = head


class Reading:
    """A node that reads on when the test says so."""

    def __init__(self, head: int = 0) -> None:
        self.log = Log(head)
        self.reach = Reach(self.log)  # type: ignore[arg-type]
        self.clock = VirtualClock()

    def reads(self, offset: int) -> None:
        """Show one entry as a log does: its head grows when every follower has seen it."""
        self.reach.saw(offset)
        self.log.head = offset

    async def after(self, seconds: float, offset: int) -> None:
        await self.clock.sleep(seconds)
        self.reads(offset)


async def test_what_holds_already_is_not_waited_for() -> None:
    node = Reading(head=5)
    assert await node.reach.offset(5, within_s=1)
    assert node.clock.monotonic() == 0


@pytest.mark.parametrize("within_s", [0.0, -1.0])
async def test_without_time_to_wait_the_answer_comes_at_once(within_s: float) -> None:
    node = Reading(head=5)
    assert await node.reach.offset(5, within_s=within_s)
    assert not await node.reach.offset(6, within_s=within_s)
    assert node.clock.monotonic() == 0


async def test_a_caller_goes_on_with_the_entry_that_it_waits_for() -> None:
    """During the entry: the log's own head is still the one before then."""
    node = Reading()
    waiting = asyncio.ensure_future(node.reach.offset(2, within_s=10))
    await node.after(1, 1)
    await node.clock.sleep(1)
    assert not waiting.done()
    node.reach.saw(2)
    assert await waiting
    assert node.clock.monotonic() == 2


async def test_a_caller_waits_no_longer_than_it_may() -> None:
    node = Reading()
    assert not await node.reach.offset(1, within_s=3)
    assert node.clock.monotonic() == 3


async def test_a_condition_that_came_to_hold_without_an_entry_holds_at_the_end() -> None:
    node = Reading()
    node.log.head = 0
    waiting = asyncio.ensure_future(node.reach.offset(4, within_s=3))
    await node.clock.sleep(1)
    node.log.head = 4
    assert await waiting


async def test_each_caller_waits_for_its_own_condition() -> None:
    node = Reading()
    known: set[str] = set()
    waiting = {
        name: asyncio.ensure_future(node.reach.until(lambda n=name: n in known, within_s=9))  # type: ignore[misc]
        for name in ("a", "b")
    }
    await node.clock.sleep(1)
    known.add("b")
    node.reads(1)
    assert await waiting["b"]
    assert not waiting["a"].done()
    known.add("a")
    node.reads(2)
    assert await waiting["a"]


async def test_a_caller_that_is_cancelled_is_not_called_back() -> None:
    node = Reading()
    asked: list[int] = []

    def holds() -> bool:
        asked.append(node.log.head)
        return False

    waiting = asyncio.ensure_future(node.reach.until(holds, within_s=9))
    await node.clock.sleep(1)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    before = len(asked)
    node.reads(1)
    assert len(asked) == before


# --- min_position ----------------------------------------------------------------------------


async def test_a_reader_that_names_no_position_does_not_wait() -> None:
    await Reading().reach.wait_for({"other": 1})


async def test_a_reader_waits_for_the_position_that_it_names() -> None:
    node = Reading()
    reading = asyncio.ensure_future(node.reach.wait_for({"min_position": "e1:3"}))
    await node.after(READ_WAIT_S / 2, 3)
    await reading
    assert node.clock.monotonic() == READ_WAIT_S / 2


async def test_a_position_that_is_not_reached_in_time_may_be_asked_for_again() -> None:
    node = Reading(head=2)
    with pytest.raises(Unavailable, match="this node is at offset 2, 3 was asked for") as refused:
        await node.reach.wait_for({"min_position": "e1:3"})
    assert (refused.value.field, refused.value.retry_after) == ("min_position", READ_WAIT_S)
    assert node.clock.monotonic() == READ_WAIT_S


@pytest.mark.parametrize("position", ["e2:1", "e1:", "e1:-1", "e1", "1.5", ""])
async def test_a_position_of_another_log_or_none_at_all_is_refused(position: str) -> None:
    with pytest.raises(InvalidParams) as refused:
        await Reading(head=9).reach.wait_for({"min_position": position})
    assert refused.value.field == "min_position"


async def test_a_bare_offset_is_of_this_log() -> None:
    await Reading(head=9).reach.wait_for({"min_position": "9"})
