"""
How a subscription starts, the same over WebSocket and over HTTP.

A subscriber gets the verdict on the position that it wants to resume from, then the replay, then
what is new. The snapshot has to be the state at the log's head: there is no await between
reading the head and taking the snapshot.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

from gateway.domain.access import Caller
from gateway.domain.errors import NotPermitted, Unavailable
from gateway.domain.events import listening
from gateway.domain.stream import Position, resume_after
from gateway.execution.service import Service
from gateway.ports import EventLog
from gateway.transports.follower import EVERYTHING, Audience
from gateway.transports.hub import READ_ENTRIES_MAX, Hub

Since = Mapping[str, Any] | str | None

__all__ = ["Start", "begin", "check_topics"]


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """
    Where a subscription starts.

    Attributes:
        after: The subscriber gets the events after this offset.
        result: The answer to ``subscribe``.
    """

    after: int
    result: Mapping[str, Any]


def check_topics(service: Service, caller: Caller, topics: Iterable[str]) -> None:
    """
    Check that the caller may follow every one of ``topics``.

    Raises:
        NotPermitted: If it may not follow one of them. A task that does not exist and a task of
            another user are refused alike.
    """
    for topic in topics:
        if not caller.may_follow(topic, owner=service.owner_of(topic)):
            raise NotPermitted(f"the topic {topic} is not open to this caller", field="topics")


async def begin(
    hub: Hub,
    service: Service,
    caller: Caller,
    *,
    topics: Iterable[str],
    audience: Audience,
    since: Since,
    snapshot: bool,
) -> Start:
    """
    Decide how a subscription starts.

    The door then sends the result and calls ``hub.follow``, with no await between the two.

    Args:
        hub: Will feed the follower.
        service: Gives the snapshot.
        caller: The subscriber, with its scopes.
        topics: Topics that it wants to follow and may follow.
        audience: What the subscriber sees of them.
        since: ``{epoch, offset}`` last seen, ``"start"`` for everything kept, None for only
            what is new.
        snapshot: Whether the state is wanted even when nothing was missed.

    Raises:
        Unavailable: If the subscriber has seen an offset that this node has not reached yet, or
            the gateway is not ready.
    """
    service.require_ready()
    topics = tuple(topics)
    log = hub.log
    # In a shared log an offset above the head may exist on another node. In a log that is never
    # behind (lag_wait_s is 0) it has never existed, and resuming is refused below.
    lag_wait_s = hub.lag_wait_s
    if (
        lag_wait_s
        and _is_ahead(since, log)
        and not await service.reached(since["offset"], within_s=lag_wait_s)
    ):
        hub.resumes["behind"] += 1
        raise Unavailable("this node has not seen that offset yet", retry_after=1.0)
    head = log.head
    after, recovered = _after(hub, since)
    if since is not None:
        hub.resumes["recovered" if recovered else "refused"] += 1
    refused = since is not None and not recovered
    result: dict[str, Any] = {
        "epoch": log.epoch,
        "offset": head,
        "recovered": recovered,
        "was_recovering": since is not None,
        "replayed": 0,
    }
    if snapshot or refused:
        result["snapshot"] = service.snapshot(topics, caller)
    # The verdict stands. Events accepted during the count come after the replay.
    if after < head:
        result["replayed"] = await _count(service, topics, audience, after=after, until=head)
        return Start(after, result)
    return Start(head, result)


def _is_ahead(since: Since, log: EventLog) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(since, Mapping) and since["epoch"] == log.epoch and since["offset"] > log.head


def _after(hub: Hub, since: Since) -> tuple[int, bool]:
    log = hub.log
    if since is None:
        return log.head, False
    if since == "start":
        return log.oldest - 1, True
    assert isinstance(since, Mapping)
    position = Position(since["epoch"], since["offset"])
    if resume_after(position, epoch=log.epoch, oldest=log.oldest, head=log.head):
        return position.offset, True
    return log.head, False


async def _count(
    service: Service, topics: Iterable[str], audience: Audience, *, after: int, until: int
) -> int:
    """Count the events of the replay that this audience sees."""
    wanted = None if EVERYTHING in topics else listening(topics)
    count = 0
    while True:
        entries = await service.log.read(
            after=after, topics=wanted, limit=READ_ENTRIES_MAX, until=until
        )
        count += sum(1 for entry in entries if audience.sees(entry))
        if len(entries) < READ_ENTRIES_MAX:
            return count
        after = entries[-1].offset
        # The log may answer without waiting; other tasks need a turn all the same.
        await service.clock.sleep(0)
