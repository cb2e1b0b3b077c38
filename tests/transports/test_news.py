"""What is new in one turn: each follower its own events, joined and framed once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from gateway.ports import Entry
from gateway.transports.follower import Audience, EventStreamForm, Follower, WebSocketForm
from gateway.transports.news import Batch, news
from tests.transports.entries import CountedForm, entry
from tests.transports.sinks import HandSink

FORM = WebSocketForm()
USERS = Audience(FORM, operator=False, types=None)
OPERATORS = Audience(FORM, operator=True, types=None)


def follower(*topics: str, audience: Audience = USERS) -> Follower:
    it = Follower(HandSink(), audience, now=0.0)
    it.follow(topics, after=0)
    return it


def told(fresh: list[Entry], *followers: Follower) -> dict[Follower, Batch]:
    by_topic: dict[str, dict[Follower, None]] = {}
    for one in followers:
        for topic in one.index_topics():
            by_topic.setdefault(topic, {})[one] = None
    pairs = list(news(fresh, by_topic))
    batches = dict(pairs)
    assert len(batches) == len(pairs), "a follower comes once"
    return batches


def framed(audience: Audience, entries: Iterable[Entry]) -> bytes:
    return b"".join(audience.frame(one) for one in entries)


def counts(batches: Mapping[Follower, Batch]) -> list[int]:
    return [batch.count for batch in batches.values()]


def test_a_follower_gets_its_events_joined_in_order() -> None:
    fresh = [entry(7, "user:ann"), entry(8, "user:bob"), entry(9, "user:ann")]
    ann, bob, eve = (follower(f"user:{name}") for name in ("ann", "bob", "eve"))
    batches = told(fresh, ann, bob, eve)
    assert eve not in batches
    expected = framed(USERS, (fresh[0], fresh[2]))
    # `start` is the turn's first offset: a follower that falls behind reads on from before it.
    assert dataclasses.asdict(batches[ann]) == dataclasses.asdict(
        Batch(expected, len(expected), 2, 7, [fresh[0], fresh[2]])
    )
    assert (batches[bob].count, batches[bob].start) == (1, 7)


def test_an_event_comes_once_however_many_topics_match() -> None:
    fresh = [entry(1, "user:ann", "task:t", "system"), entry(2, "task:t"), entry(3, "system")]
    ann = follower("task:t", "user:ann")
    batches = told(fresh, ann, follower("*", audience=OPERATORS))
    assert counts(batches) == [3, 3]
    assert batches[ann].data == framed(USERS, fresh)


def test_a_follower_without_a_visible_event_gets_no_batch() -> None:
    """Its newest offset would otherwise tell that there was one."""
    fresh = [entry(1, "user:ann", operators_only=True), entry(2, "user:ann", type="agent_error")]
    narrow = Audience(FORM, operator=True, types=frozenset({"task_finished"}))
    user, operator = follower("user:ann"), follower("user:ann", audience=OPERATORS)
    batches = told(fresh, user, operator, follower("user:ann", audience=narrow))
    assert set(batches) == {user, operator}
    assert batches[user].count == 1
    assert batches[operator].count == 2


def test_followers_alike_share_one_batch_and_audiences_alike_their_frames() -> None:
    form = CountedForm()
    wide = Audience(form, operator=True, types=None)
    narrow = Audience(form, operator=True, types=frozenset({"notification"}))
    public = Audience(form, operator=False, types=None)
    fresh = [entry(1, "user:ann"), entry(2, "user:ann")]
    one, other = follower("user:ann", audience=wide), follower("user:ann", audience=wide)
    batches = told(
        fresh,
        one,
        follower("user:ann", audience=public),
        other,
        follower("user:ann", audience=narrow),
    )
    assert batches[one].data is batches[other].data
    assert counts(batches) == [2, 2, 2, 2]
    assert form.made == [1, 2, 1, 2]


def test_kinds_of_connections_never_share_frames() -> None:
    stream = Audience(EventStreamForm(lambda: "e"), operator=False, types=None)
    fresh = [entry(1, "user:ann")]
    socket, reader = follower("user:ann"), follower("user:ann", audience=stream)
    batches = told(fresh, socket, reader)
    assert batches[socket].data == USERS.frame(fresh[0])
    assert batches[reader].data == stream.frame(fresh[0])


def test_the_index_may_change_while_the_news_are_told() -> None:
    """A sink that breaks makes its follower leave in the middle of the turn."""
    followers = [follower("user:ann") for _ in range(3)]
    by_topic = {"user:ann": dict.fromkeys(followers)}
    seen = []
    for one, _ in news([entry(1, "user:ann")], by_topic):
        seen.append(one)
        by_topic["user:ann"].pop(one)
    assert seen == followers
