"""A follower: which entries it wants, as which bytes, and how it waits for room."""

from __future__ import annotations

import asyncio
import math

import pytest

from gateway.protocol.frames import payloads_of
from gateway.transports.follower import Audience, EventStreamForm, Follower, WebSocketForm
from tests.transports.entries import entry
from tests.transports.sinks import HandSink, settle

FORM = WebSocketForm()
USERS = Audience(FORM, operator=False, types=None)
OPERATORS = Audience(FORM, operator=True, types=None)


def follower(audience: Audience = USERS, *, accepts: float = math.inf) -> tuple[Follower, HandSink]:
    sink = HandSink(accepts)
    return Follower(sink, audience, now=0.0), sink


# --- forms ----------------------------------------------------------------------------------


def test_a_websocket_gets_unmasked_text_frames() -> None:
    """RFC 6455, 5.2: FIN and opcode 1, no mask, the length in the second byte."""
    one = entry(7)
    frame = FORM.event(one, one.public)
    assert frame[:2] == bytes((0x81, len(one.public)))
    assert list(payloads_of(frame)) == [one.public]
    (notice,) = payloads_of(FORM.notice("gap", {"from": 1, "to": 2}))
    assert notice == b'{"jsonrpc":"2.0","method":"gap","params":{"from":1,"to":2}}'


def test_an_event_stream_gets_ids_for_events_and_none_for_notices() -> None:
    """A notice with an id would make a browser resume at it."""
    form = EventStreamForm(lambda: "e")
    one = entry(7)
    assert form.event(one, b"{}") == b"id: e:7\nevent: notification\ndata: {}\n\n"
    assert form.notice("gap", {"to": 2}) == b'event: gap\ndata: {"to":2}\n\n'


def test_the_ids_of_an_event_stream_have_the_epoch_that_the_log_has_now() -> None:
    """A mounted application is made before its store is open, and a log may begin anew."""
    epochs = [""]
    form = EventStreamForm(lambda: epochs[-1])
    epochs.append("e2")
    assert form.event(entry(7), b"{}").startswith(b"id: e2:7\n")


# --- audiences ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operator", "types", "operators_only", "seen"),
    [
        (False, None, False, True),
        (False, None, True, False),
        (True, None, True, True),
        (True, frozenset({"notification"}), True, True),
        (True, frozenset({"agent_error"}), False, False),
        (True, frozenset(), False, False),
    ],
)
def test_an_audience_sees_what_its_rights_and_types_allow(
    operator: bool, types: frozenset[str] | None, operators_only: bool, seen: bool
) -> None:
    audience = Audience(FORM, operator=operator, types=types)
    assert audience.sees(entry(1, operators_only=operators_only)) is seen


def test_only_operators_get_the_detail() -> None:
    one = entry(1, detail=True)
    assert b"stack" not in USERS.frame(one)
    assert b"stack" in OPERATORS.frame(one)


# --- topics ---------------------------------------------------------------------------------


def test_a_topic_is_heard_after_its_own_offset() -> None:
    it, _ = follower()
    it.follow(["task:t"], after=5)
    assert [it.wants(entry(offset, "task:t")) for offset in (4, 5, 6)] == [False, False, True]
    assert not it.wants(entry(6, "task:other"))
    it.follow(["task:t", "task:u"], after=9)
    assert it.topics == {"task:t": 5, "task:u": 9}
    assert [it.wants(entry(9, topic)) for topic in ("task:t", "task:u")] == [True, False]
    assert it.wants(entry(10, "task:u"))


def test_a_user_brings_along_what_is_for_all_users_from_the_earliest_on() -> None:
    it, _ = follower()
    it.follow(["user:ann"], after=5)
    it.follow(["user:bob"], after=9)
    assert it.wants(entry(6, "system"))
    assert "system" not in it.topics
    it.unfollow(["user:ann"])
    assert not it.wants(entry(6, "system"))
    assert it.wants(entry(10, "system"))
    it.unfollow(["user:bob", "user:bob", "never:followed"])
    assert not it.wants(entry(11, "system"))


def test_a_topic_that_was_asked_for_keeps_its_own_offset() -> None:
    it, _ = follower()
    it.follow(["system"], after=8)
    it.follow(["user:ann"], after=5)
    assert not it.wants(entry(8, "system"))


def test_everything_is_one_entry_in_the_index_and_no_filter_for_the_log() -> None:
    it, _ = follower(OPERATORS)
    it.follow(["user:ann"], after=0)
    assert set(it.index_topics()) == {"user:ann", "system"}
    assert set(it.read_topics() or ()) == {"user:ann", "system"}
    it.follow(["*"], after=3)
    assert (it.index_topics(), it.read_topics()) == (("*",), None)
    assert [it.wants(entry(offset, "agent:a")) for offset in (3, 4)] == [False, True]


def test_an_entry_that_the_audience_does_not_see_is_not_wanted() -> None:
    it, _ = follower()
    it.follow(["user:ann"], after=0)
    assert not it.wants(entry(1, "user:ann", operators_only=True))


# --- writing --------------------------------------------------------------------------------


def test_notices_and_frames_are_written_in_order_and_counted() -> None:
    it, sink = follower()
    it.write(FORM.event(entry(1), entry(1).public))
    it.tell("gap", {"from": 2, "to": 3})
    assert [frame.get("type") or frame.get("method") for frame in sink.frames()] == [
        *("notification", "gap")
    ]
    assert it.written == len(sink.received)


async def test_waiting_for_room_ends_at_the_bound() -> None:
    it, sink = follower(accepts=0)
    sink.set_room(10)
    it.write(b"x" * 12)
    waiting = asyncio.create_task(it.wait_room(10))
    await settle()
    sink.accept(1)
    await settle()
    assert not waiting.done()
    sink.accept(1)
    await waiting
    # With room there is no wait, not even one turn.
    it.written = 0
    with pytest.raises(StopIteration):
        it.wait_room(10).send(None)


async def test_waiting_for_room_ends_when_the_follower_leaves() -> None:
    it, _ = follower(accepts=0)
    it.write(b"x" * 12)
    waiting = asyncio.create_task(it.wait_room(10))
    await settle()
    it.gone = True
    it.wake()
    await waiting


def test_a_new_follower_is_never_due() -> None:
    it, _ = follower()
    assert it.due == it.on_due(0.0) == math.inf
