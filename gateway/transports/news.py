"""
What is new in one turn of the loop: which follower gets which entries, as which bytes.

Each entry is framed once per audience. Frames are joined once for all followers of the same
audience that hear the turn's entries by the same topics. With that and one write per socket a
fan-out costs little more than the kernel's part; so this file counts steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from gateway.ports import Entry
from gateway.transports.follower import EVERYTHING, Audience, Follower

__all__ = ["Batch", "news"]


# One is made for each user that hears something of its own: not frozen, which is slow to make,
# and compared by identity, since it is a key in the hot path.
@dataclasses.dataclass(slots=True, eq=False)
class Batch:
    """
    The events of one turn for some followers, joined.

    Attributes:
        data: The frames.
        size: Length of ``data``, in bytes.
        count: How many events it holds.
        start: The first offset of the turn, whether that event is in the batch or not.
        entries: The events that it holds.
    """

    data: bytes
    size: int
    count: int
    start: int
    entries: Sequence[Entry]


def news(
    fresh: Sequence[Entry], by_topic: Mapping[str, Mapping[Follower, None]]
) -> Iterator[tuple[Follower, Batch]]:
    """
    Give each follower its batch. A follower comes at most once, and never with an empty batch.

    Args:
        fresh: The entries of one turn, at least one.
        by_topic: Topic → the followers that hear it; may change during the iteration.
    """
    # Topic → indexes of its entries in `fresh`; only topics that a follower hears.
    places: dict[str, list[int]] = {}
    for place, entry in enumerate(fresh):
        for topic in entry.topics:
            if topic in by_topic:
                places.setdefault(topic, []).append(place)
    if EVERYTHING in by_topic:
        places[EVERYTHING] = list(range(len(fresh)))
    # Follower → its topics among `places`, in the same order for all followers.
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
    # Most followers have the same audience and topics as the follower before.
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
    frames, entries = [], []
    kind = type(audience.form)
    for place in places:
        entry = fresh[place]
        if audience.sees(entry):
            # Audiences that differ only in `types` share their frames.
            key = (audience.operator, kind, place)
            frame = framed.get(key)
            if frame is None:
                frame = framed[key] = audience.frame(entry)
            frames.append(frame)
            entries.append(entry)
    data = frames[0] if len(frames) == 1 else b"".join(frames)
    return Batch(data, len(data), len(frames), fresh[0].offset, entries)
