"""Reading from the stream itself: topics, bounds, chunks, and what was dropped meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from gateway.ports import Draft, Entry
from gateway.stores.jetstream import reading
from gateway.stores.jetstream.codec import about, pack, unpack
from gateway.stores.jetstream.feed import Delivery
from gateway.stores.jetstream.reading import read_stored, stored_last
from gateway.stores.jetstream.session import ApiError, Session, answer_of
from gateway.stores.jetstream.stream import Bounds, ensure_stream
from tests.nats import NatsServer
from tests.stores.drafts import draft
from tests.stores.jetstream.world import new_stream, session

BOUNDS = Bounds(events_max=1000, bytes_max=10**7, age_max_s=3600.0, replicas=1)


async def written(admin: Session, *messages: list[Draft]) -> str:
    """Make a stream with these messages."""
    stream = new_stream()
    await ensure_stream(admin, stream, BOUNDS, new_epoch="e")
    for drafts in messages:
        (parcel,) = pack(stream, drafts, payload_bytes_max=10**6)
        answer_of(await admin.request(parcel.subject, parcel.payload))
    return stream


def entries_of(delivery: Delivery) -> list[Entry]:
    return unpack(
        delivery.subject,
        delivery.payload,
        epoch="e",
        sequence=delivery.sequence,
        at=delivery.at,
    )


UNTIL = 10**4


async def found(admin: Session, stream: str, **options: Any) -> tuple[list[Entry], int]:
    given: dict[str, Any] = {"after": 0, "until": UNTIL, "topics": None, "limit": 100}
    given["turn"] = asyncio.Semaphore()
    return await read_stored(admin, stream, entries_of=entries_of, **{**given, **options})


async def read(admin: Session, stream: str, **options: Any) -> tuple[list[int], bool]:
    entries, until = await found(admin, stream, **options)
    all_of_it = until == options.get("until", UNTIL)
    if not all_of_it:
        assert until == (entries[-1].offset if entries else options.get("after", 0))
    return [entry.offset for entry in entries], all_of_it


async def test_an_empty_stream_has_nothing_to_read(server: NatsServer) -> None:
    async with session(server.url) as admin:
        stream = await written(admin)
        assert await read(admin, stream) == ([], True)
        assert await read(admin, stream, until=0) == ([], True)


async def test_entries_between_two_offsets_are_read_in_order(server: NatsServer) -> None:
    """Also from the middle of a message to the middle of another."""
    async with session(server.url) as admin:
        stream = await written(admin, [draft()] * 3, [draft()], [draft()] * 2)
        assert await read(admin, stream) == ([14, 15, 16, 32, 47, 48], True)
        assert await read(admin, stream, after=14, until=47) == ([15, 16, 32, 47], True)
        assert await read(admin, stream, after=16, until=32) == ([32], True)
        assert await read(admin, stream, after=32, until=46) == ([], True)
        assert await read(admin, stream, after=48) == ([], True)


async def test_topics_of_users_are_merged_in_order_and_each_entry_is_given_once(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small the chunks are in which the server gives them."""
    monkeypatch.setattr(reading, "_CHUNK_MESSAGES_MAX", 2)
    topics = [("user:a",), ("user:b", "task:t"), ("system",), ("user:a", "user:b"), (), ("user:b",)]
    async with session(server.url) as admin:
        stream = await written(admin, *([draft("x/1", *its)] for its in topics * 3))
        for wanted in (["user:a"], ["user:b", "user:a"], ["user:a", "system"], ["task:t"], ["x"]):
            offsets = [
                16 * (place + 1)
                for place, its in enumerate(topics * 3)
                if not set(wanted).isdisjoint(its)
            ]
            assert await read(admin, stream, topics=wanted) == (offsets, True)
            assert await read(admin, stream, topics=iter(wanted)) == (offsets, True)
        assert await read(admin, stream, topics=[]) == ([], True)


async def test_so_many_entries_are_read_and_the_rest_is_told_of(server: NatsServer) -> None:
    async with session(server.url) as admin:
        stream = await written(admin, [draft()] * 2, [draft()])
        assert await read(admin, stream, limit=0) == ([], False)
        assert await read(admin, stream, limit=2) == ([15, 16], False)
        assert await read(admin, stream, limit=3) == ([15, 16, 32], True)


async def test_so_many_bytes_are_read_yet_always_one_entry(server: NatsServer) -> None:
    async with session(server.url) as admin:
        stream = await written(admin, [draft()], [draft()], [draft()])
        (entry, *_), _ = await found(admin, stream, limit=1)
        size = len(entry.public)
        assert await read(admin, stream, size_max=0) == ([16], False)
        assert await read(admin, stream, size_max=2 * size - 1) == ([16], False)
        assert await read(admin, stream, size_max=2 * size) == ([16, 32], False)
        assert await read(admin, stream, size_max=3 * size) == ([16, 32, 48], True)


async def test_after_so_many_looks_it_is_told_how_far_they_went(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A topic that has few entries does not make one call read the whole stream."""
    monkeypatch.setattr(reading, "_CHUNK_MESSAGES_MAX", 2)
    async with session(server.url) as admin:
        stream = await written(admin, *([draft("x/1", topic)] for topic in "aabaaabaa"))

        async def looks(count: int, topic: str, *, after: int = 0) -> tuple[list[int], int]:
            entries, until = await found(
                admin, stream, topics=[topic], after=after, until=9 * 16, looks_max=count
            )
            return [entry.offset // 16 for entry in entries], until // 16

        assert await looks(1, "nothing") == ([], 2)
        assert await looks(3, "nothing") == ([], 4)
        assert await looks(4, "b", after=2 * 16) == ([3], 6)
        assert await looks(4, "b", after=6 * 16) == ([7], 9)
        assert await looks(100, "nothing") == ([], 9)
        # What the server finds by itself is not looked for.
        assert await looks(1, "user:ann") == ([], 9)


async def test_readers_take_turns_chunk_by_chunk(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that reads a little does not wait for those that read everything."""
    monkeypatch.setattr(reading, "_CHUNK_MESSAGES_MAX", 2)
    async with session(server.url) as admin:
        stream = await written(admin, *([draft()] for _ in range(40)))
        turn = asyncio.Semaphore(1)
        deep = [
            asyncio.ensure_future(found(admin, stream, topics=["nothing"], turn=turn))
            for _ in range(4)
        ]
        assert await found(admin, stream, limit=1, turn=turn) != ([], UNTIL)
        assert not any(reader.done() for reader in deep)
        assert await asyncio.gather(*deep) == [([], UNTIL)] * 4


async def test_foreign_and_dropped_messages_are_passed_over(server: NatsServer) -> None:
    async with session(server.url) as admin:
        stream = await written(admin, [draft()], [draft()])
        answer_of(await admin.request(f"{stream}.task.1.a", b"hello"))
        (parcel,) = pack(stream, [draft()], payload_bytes_max=10**6)
        answer_of(await admin.request(parcel.subject, parcel.payload))
        assert await read(admin, stream) == ([16, 32, 64], True)
        await admin.api(f"STREAM.PURGE.{stream}", {"seq": 2})
        assert await read(admin, stream) == ([32, 64], True)
        await admin.api(f"STREAM.PURGE.{stream}")
        assert await read(admin, stream) == ([], True)


async def test_an_entry_has_the_time_that_the_stream_gave_it(server: NatsServer) -> None:
    async with session(server.url) as admin:
        stream = await written(admin, [draft()])
        answer = await admin.request(f"$JS.API.DIRECT.GET.{stream}", b'{"seq":1}')
        time = (answer.headers or {})["Nats-Time-Stamp"]
        (entry,), _ = await found(admin, stream, limit=1)
        assert entry.at == reading._seconds(time)
        assert orjson.loads(entry.public)["timestamp"][:19] == time[:19]


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:01.5Z", 1_500_000_000),
        ("2027-01-15T08:00:00.123456789Z", 1_800_000_000_123_456_789),
        ("2028-02-29T23:59:59.99Z", 1_835_481_599_990_000_000),
    ],
)
def test_a_time_is_read_as_exactly_as_the_feed_reads_its_number(
    text: str, nanoseconds: int
) -> None:
    """So an entry is the same however it was read."""
    assert reading._seconds(text) == nanoseconds / 1e9


async def test_the_last_offset_about_a_subject_is_the_servers(server: NatsServer) -> None:
    async with session(server.url) as admin:
        stream = await written(
            admin, [draft("task/1", "user:a")], [draft("task/2")], [draft("task/1", "user:b")]
        )
        for subject, offset in (("task/1", 48), ("task/2", 32), ("task/3", 0)):
            assert await stored_last(admin, stream, about(stream, subject)) == offset


async def test_a_stream_that_is_gone_is_an_error(server: NatsServer) -> None:
    async with session(server.url) as admin:
        stream = new_stream()
        with pytest.raises(ApiError):
            await stored_last(admin, stream, about(stream, "task/1"))
        with pytest.raises(ApiError):
            await read(admin, stream)
