"""
The server's error codes, asked of the server.

A newer nats-server that numbers its errors differently would be misunderstood in silence.
"""

from __future__ import annotations

import orjson
import pytest

from gateway.stores.jetstream import wire
from gateway.stores.jetstream.session import ApiError, Msg, Session, answer_of
from tests.nats import NatsServer
from tests.stores.jetstream.world import new_stream, session, until


async def stream_of(admin: Session) -> str:
    stream = new_stream()
    await admin.api(
        f"STREAM.CREATE.{stream}",
        {
            "name": stream,
            "subjects": [f"{stream}.>"],
            "allow_atomic": True,
            "allow_direct": True,
        },
    )
    return stream


async def batch(admin: Session, stream: str, *, ids: list[str], commit: int) -> Msg:
    """Send a batch of empty messages, in which ``commit`` is said to be the last one's number."""
    answers: list[Msg | None] = []
    reply = admin.expect(answers.append)
    for number, id in enumerate(ids, 1):
        headers = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": str(number), wire.MESSAGE_ID: id}
        if number == len(ids):
            headers |= {"Nats-Batch-Commit": "1", "Nats-Batch-Sequence": str(commit)}
        last = number == len(ids)
        await admin.publish(f"{stream}.x", headers=headers, reply=reply if last else "")
    await until(lambda: answers)
    admin.expect_no_more(reply)
    assert answers[0] is not None
    return answers[0]


async def test_a_missing_stream_has_its_own_code(server: NatsServer) -> None:
    async with session(server.url) as admin:
        with pytest.raises(ApiError) as refused:
            await admin.api(f"STREAM.INFO.{new_stream()}")
        assert refused.value.err_code == wire.STREAM_NOT_FOUND


async def test_a_stream_that_is_there_already_has_its_own_code(server: NatsServer) -> None:
    async with session(server.url) as admin:
        stream = await stream_of(admin)
        with pytest.raises(ApiError) as refused:
            await admin.api(f"STREAM.CREATE.{stream}", {"name": stream, "subjects": ["other.>"]})
        assert refused.value.err_code == wire.NAME_IN_USE


async def test_subjects_of_another_stream_have_their_own_code(server: NatsServer) -> None:
    async with session(server.url) as admin:
        stream, other = await stream_of(admin), new_stream()
        with pytest.raises(ApiError) as refused:
            await admin.api(f"STREAM.CREATE.{other}", {"name": other, "subjects": [f"{stream}.x"]})
        assert refused.value.err_code == wire.SUBJECTS_OVERLAP


async def test_a_failed_expectation_has_its_own_code_and_names_the_sequence(
    server: NatsServer,
) -> None:
    async with session(server.url) as admin:
        stream = await stream_of(admin)
        answer_of(await admin.request(f"{stream}.x"))
        reply = new_stream()
        answers: list[Msg] = []

        async def take(msg: Msg) -> None:
            answers.append(msg)

        await admin.subscribe(reply, take)
        headers = {"Nats-Expected-Last-Subject-Sequence": "7"}
        await admin.publish(f"{stream}.x", headers=headers, reply=reply)
        await until(lambda: answers)
        with pytest.raises(ApiError, match="wrong last sequence: 1") as refused:
            answer_of(answers[0])
        assert refused.value.err_code in wire.WRONG_LAST_SEQUENCE


async def test_a_batch_with_a_gap_a_stored_id_or_too_many_messages_has_its_own_code(
    server: NatsServer,
) -> None:
    async with session(server.url) as admin:
        stream = await stream_of(admin)
        many = [str(number) for number in range(1001)]
        for ids, commit, code in (
            (["a", "b"], 3, wire.BATCH_INCOMPLETE),
            (many, 1001, wire.BATCH_TOO_LARGE),
            (["a", "b"], 2, None),
            (["c", "a"], 2, wire.BATCH_HAS_STORED_ID),
        ):
            answer = orjson.loads((await batch(admin, stream, ids=ids, commit=commit)).data)
            assert answer.get("error", {}).get("err_code") == code


async def test_a_message_that_is_read_directly_names_its_sequence_or_there_is_none(
    server: NatsServer,
) -> None:
    async with session(server.url) as admin:
        stream = await stream_of(admin)
        answer_of(await admin.request(f"{stream}.x", b"body"))
        found = await admin.request(f"{wire.DIRECT_GET}.{stream}.{stream}.x")
        assert (found.data, (found.headers or {})[wire.SEQUENCE]) == (b"body", "1")
        missing = await admin.request(f"{wire.DIRECT_GET}.{stream}.{stream}.y")
        assert (missing.headers or {})[wire.STATUS] == "404"
        assert wire.DESCRIPTION in (missing.headers or {})
