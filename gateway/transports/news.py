"""
What is new in one turn of the loop, and who gets which of it as which bytes.

Each entry is framed once for everybody with the same rights, and joined once for everybody with
the same rights who hears it by the same topics. That, and one write for each socket, is what
makes a fan-out cost little more than the kernel's part; so this file counts steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from gateway.ports import Entry
from gateway.transports.follower import EVERYTHING, Audience, Follower

__all__ = ["Batch", "news"]


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """
    What is new for some followers, in one piece.

    Attributes:
        data: The frames.
        size: Their bytes.
        count: How many events they are.
        start: The first offset of the turn, whether it is among them or not.
        newest: The offset of the last event among them.
    """

    data: bytes
    size: int
    count: int
    start: int
    newest: int


def news(
    fresh: Sequence[Entry], by_topic: Mapping[str, Mapping[Follower, None]]
) -> Iterator[tuple[Follower, Batch]]:
    """
    Tell who gets what; nobody is named twice, or for nothing.

    Args:
        fresh: The entries of one turn, at least one.
        by_topic: Topic → those who hear it; may change while this goes on.
    """
    # Topic → where its entries are in `fresh`; only topics that somebody hears.
    places: dict[str, list[int]] = {}
    for place, entry in enumerate(fresh):
        for topic in entry.topics:
            if topic in by_topic:
                places.setdefault(topic, []).append(place)
    if EVERYTHING in by_topic:
        places[EVERYTHING] = list(range(len(fresh)))
    # Follower → its topics among those, in the same order for all.
    heard: dict[Follower, tuple[str, ...]] = {}
    for topic in places:
        alone = (topic,)
        if not heard:
            heard = dict.fromkeys(by_topic[topic], alone)
            continue
        for follower in by_topic[topic]:
            heard[follower] = heard[follower] + alone if follower in heard else alone
    batches: dict[tuple[Audience, tuple[str, ...]], Batch] = {}
    framed: dict[tuple[bool, type, int], bytes] = {}
    # Mostly the next one has the same rights and topics as the one before.
    last_audience: Audience | None = None
    last_topics: tuple[str, ...] = ()
    batch: Batch | None = None
    for follower, topics in heard.items():
        audience = follower.audience
        if audience is not last_audience or topics is not last_topics:
            last_audience, last_topics = audience, topics
            batch = batches.get((audience, topics))
            if batch is None:
                wanted = sorted({place for topic in topics for place in places[topic]})
                batch = batches[audience, topics] = _join(fresh, wanted, audience, framed)
        if batch is not None and batch.count:
            yield follower, batch


def _join(
    fresh: Sequence[Entry],
    places: Sequence[int],
    audience: Audience,
    framed: dict[tuple[bool, type, int], bytes],
) -> Batch:
    frames = []
    newest = 0
    kind = type(audience.form)
    for place in places:
        entry = fresh[place]
        if audience.sees(entry):
            # Frames are shared by all audiences that differ in `types` only.
            key = (audience.operator, kind, place)
            frame = framed.get(key)
            if frame is None:
                frame = framed[key] = audience.frame(entry)
            frames.append(frame)
            newest = entry.offset
    data = frames[0] if len(frames) == 1 else b"".join(frames)
    return Batch(data, len(data), len(frames), fresh[0].offset, newest)
