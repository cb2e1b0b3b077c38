"""The log in NATS JetStream and what is not ours: messages, streams, servers."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.domain.errors import ConfigurationError, TooLarge
from gateway.ports import Entry
from tests.nats import NatsServer, free_ports, nats_server
from tests.stores.drafts import draft
from tests.stores.jetstream.world import (
    jetstream_log,
    new_stream,
    session,
    until,
)

MARK = {"gateway-epoch": "e", "gateway-format": "1"}


async def test_a_message_that_no_gateway_wrote_is_counted_and_skipped(server: NatsServer) -> None:
    stream = new_stream()
    async with (
        jetstream_log(server.url, stream=stream) as log,
        session(server.url) as admin,
    ):
        seen: list[Entry] = []
        log.follow(seen.append)
        await log.append([draft("task/1")])
        ours = b'gateway/1\n{"type":"t","topics":["a"],"operators_only":false}\n{"a":1}\n\n'
        foreign = (
            b"",
            b"hello",
            b"gateway/1\n1\n2",
            ours.replace(b'"t"', b'"t'),
            ours.replace(b"operators_only", b"x"),
            ours.replace(b'{"a":1}', b"1"),
        )
        for payload in foreign:
            await admin.request(f"{stream}.task.1.someone", payload)
        await admin.request(f"{stream}.task", ours)
        await until(lambda: log.foreign == len(foreign) + 1)
        # To the server it is an entry of this subject all the same.
        await log.append([draft("task/1")], expected={"task/1": log.last_offset("task/1")})
        await log.append([draft("task/2")], expected={"task/2": 0})
        assert await log.read(after=0, topics=None, limit=9) == seen
        assert [entry.subject for entry in seen] == ["task/1", "task/1", "task/2"]
        await admin.request(f"{stream}.task.3.=nobody", ours)
        await until(lambda: log.last_offset("task/3"))


async def test_a_wrong_address_is_said_clearly() -> None:
    (port,) = free_ports(1)
    with pytest.raises(ConfigurationError, match="nothing listens there; start nats-server"):
        async with jetstream_log(f"nats://ann:secret@127.0.0.1:{port}", timeout_s=0.2):
            pass


async def test_wrong_credentials_are_said_clearly_and_never_shown() -> None:
    async with nats_server(user="ann", password="right") as server:
        wrong = server.url.replace("right", "wrong")
        with pytest.raises(ConfigurationError, match="does not accept these cred") as refused:
            async with jetstream_log(wrong):
                pass
        assert "wrong" not in str(refused.value)
        async with jetstream_log(server.url) as log:
            await log.append([draft()])


async def test_a_server_without_jetstream_is_said_clearly() -> None:
    async with nats_server(jetstream=False) as server:
        with pytest.raises(ConfigurationError, match="-js"):
            async with jetstream_log(server.url, timeout_s=0.2):
                pass


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "no mark of a gateway"),
        ({"metadata": {"gateway-epoch": "e", "gateway-format": "0"}}, "format 0"),
        ({"metadata": MARK, "subjects": ["other.>"]}, "its subjects is"),
        ({"metadata": MARK, "retention": "workqueue"}, "its retention is 'workqueue'"),
        ({"metadata": MARK, "storage": "memory"}, "its storage is 'memory'"),
        ({"metadata": MARK, "allow_atomic": False}, "its allow_atomic is"),
        ({"metadata": {**MARK, "gateway-epoch": '"'}}, "no mark of a gateway"),
    ],
)
async def test_a_stream_of_somebody_else_is_left_alone_and_said_clearly(
    server: NatsServer, config: dict[str, Any], says: str
) -> None:
    stream = new_stream()
    async with session(server.url) as admin:
        given = {
            "name": stream,
            "subjects": [f"{stream}.>"],
            "max_msgs": 7,
            "allow_atomic": True,
            "allow_direct": True,
            **config,
        }
        await admin.api(f"STREAM.CREATE.{stream}", given)
        with pytest.raises(ConfigurationError, match=f"{says}.*nats stream rm {stream}"):
            async with jetstream_log(server.url, stream=stream):
                pass
        assert (await admin.api(f"STREAM.INFO.{stream}"))["config"]["max_msgs"] == 7
        await admin.api(f"STREAM.DELETE.{stream}")


async def test_a_stream_that_takes_our_messages_is_said_clearly(server: NatsServer) -> None:
    stream = new_stream()
    async with session(server.url) as admin:
        await admin.api("STREAM.CREATE.OTHER", {"name": "OTHER", "subjects": [f"{stream}.task.>"]})
        with pytest.raises(ConfigurationError, match="another stream takes messages of"):
            async with jetstream_log(server.url, stream=stream):
                pass
        await admin.api("STREAM.DELETE.OTHER")


async def test_an_entry_that_no_message_can_hold_is_refused(server: NatsServer) -> None:
    async with jetstream_log(server.url) as log:
        await log.append([draft(size=900_000) for _ in range(3)])
        with pytest.raises(TooLarge, match="raise its max_payload"):
            await log.append([draft(size=1_100_000)])
        assert len(await log.read(after=0, topics=None, limit=9)) == 3
