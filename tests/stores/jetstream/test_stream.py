"""The stream in the server: made, checked, bounded, and known again."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gateway.domain.errors import ConfigurationError, StoreUnavailable
from gateway.stores.jetstream import stream as stream_module
from gateway.stores.jetstream.session import ApiError, Session, answer_of
from gateway.stores.jetstream.stream import (
    DUPLICATES_S,
    PAYLOAD_BYTES_MIN,
    Bounds,
    StreamState,
    ensure_stream,
    look_at_stream,
    require_payload,
    require_version,
    settled_stream,
)
from tests.nats import NatsServer, nats_folder
from tests.stores.drafts import draft
from tests.stores.jetstream.world import jetstream_log, new_stream, session, until

BOUNDS = Bounds(events_max=100, bytes_max=10**6, age_max_s=3600.0, replicas=1)
MARK = {"gateway-epoch": "e", "gateway-format": "1"}


async def config_of(admin: Session, stream: str) -> dict[str, Any]:
    config: dict[str, Any] = (await admin.api(f"STREAM.INFO.{stream}"))["config"]
    return config


async def write(admin: Session, stream: str, *, count: int) -> None:
    for number in range(count):
        answer_of(await admin.request(f"{stream}.x.{number}"))


# --- making and checking ------------------------------------------------------------------------


async def test_a_stream_is_made_once_and_found_again_with_its_epoch(server: NatsServer) -> None:
    stream = new_stream()
    async with session(server.url) as admin:
        made = await ensure_stream(admin, stream, BOUNDS, new_epoch="first")
        assert made == StreamState(epoch="first", first=1, last=0)
        await write(admin, stream, count=2)
        found = await ensure_stream(admin, stream, BOUNDS, new_epoch="second")
        assert found == StreamState(epoch="first", first=1, last=2)


async def test_a_stream_is_made_as_offsets_and_decisions_need_it(server: NatsServer) -> None:
    """The names in its metadata are stored, and read by every later version."""
    stream = new_stream()
    async with session(server.url) as admin:
        await ensure_stream(admin, stream, BOUNDS, new_epoch="e")
        config = await config_of(admin, stream)
        made = {
            "subjects": [f"{stream}.>"],
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "allow_atomic": True,
            "allow_direct": True,
            "max_msgs": 100,
            "max_bytes": 10**6,
            "max_age": 3600 * 10**9,
            "num_replicas": 1,
            "duplicate_window": DUPLICATES_S * 10**9,
        }
        assert {name: config[name] for name in made} == made
        assert MARK.items() <= config["metadata"].items()


async def test_the_bounds_of_a_stream_follow_the_settings(server: NatsServer) -> None:
    stream = new_stream()
    async with session(server.url) as admin:
        await ensure_stream(admin, stream, BOUNDS, new_epoch="e")
        await write(admin, stream, count=5)
        fewer = dataclasses.replace(BOUNDS, events_max=3, age_max_s=10.0)
        state = await ensure_stream(admin, stream, fewer, new_epoch="f")
        assert state == StreamState(epoch="e", first=3, last=5)
        config = await config_of(admin, stream)
        assert (config["max_msgs"], config["max_age"]) == (3, 10 * 10**9)
        # A server refuses to remember ids for longer than messages.
        assert config["duplicate_window"] == 10 * 10**9


def test_a_server_that_is_too_old_is_said_clearly() -> None:
    with pytest.raises(ConfigurationError, match=r"2\.11 is too old .* 2\.12"):
        require_version((2, 11))
    require_version((2, 12))
    require_version((3, 0))


async def test_a_server_that_takes_too_little_in_one_message_is_said_clearly() -> None:
    """A failure might be too large for it, and nobody would be told."""
    require_payload(PAYLOAD_BYTES_MIN)
    with nats_folder() as folder:
        config = folder / "nats.conf"
        config.write_text(f"max_payload: {PAYLOAD_BYTES_MIN - 1}")
        server = NatsServer(folder, options=["-c", str(config)])
        try:
            await server.start()
            with pytest.raises(ConfigurationError, match=r"1048575 .* 1048576.*max_payload"):
                async with jetstream_log(server.url):
                    pass
        finally:
            server.kill()


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
        ({"metadata": {**MARK, "gateway-epoch": "e" * 129}}, "no mark of a gateway"),
        ({"metadata": MARK, "republish": {"src": ">", "dest": "copy.>"}}, "it has republish"),
    ],
)
async def test_a_foreign_stream_is_left_alone_and_said_clearly(
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
            await ensure_stream(admin, stream, BOUNDS, new_epoch="e")
        assert (await config_of(admin, stream))["max_msgs"] == 7
        await admin.api(f"STREAM.DELETE.{stream}")


async def test_a_stream_that_takes_our_messages_is_said_clearly(server: NatsServer) -> None:
    stream, other = new_stream(), new_stream()
    async with session(server.url) as admin:
        await admin.api(f"STREAM.CREATE.{other}", {"name": other, "subjects": [f"{stream}.task.>"]})
        with pytest.raises(ConfigurationError, match="another stream takes messages of"):
            await ensure_stream(admin, stream, BOUNDS, new_epoch="e")
        await admin.api(f"STREAM.DELETE.{other}")


# --- looking ------------------------------------------------------------------------------------


async def test_the_oldest_message_is_after_the_last_one_when_there_is_none(
    server: NatsServer,
) -> None:
    stream = new_stream()
    async with session(server.url) as admin:
        await ensure_stream(admin, stream, BOUNDS, new_epoch="e")
        await write(admin, stream, count=3)
        await admin.api(f"STREAM.PURGE.{stream}", {"seq": 3})
        assert await look_at_stream(admin, stream) == StreamState("e", first=3, last=3)
        await admin.api(f"STREAM.PURGE.{stream}")
        assert await look_at_stream(admin, stream) == StreamState("e", first=4, last=3)


async def test_a_missing_stream_is_an_error_and_a_foreign_one_has_no_epoch(
    server: NatsServer,
) -> None:
    stream = new_stream()
    async with session(server.url) as admin:
        with pytest.raises(ApiError, match="stream not found"):
            await look_at_stream(admin, stream)
        await admin.api(f"STREAM.CREATE.{stream}", {"name": stream, "subjects": [f"{stream}.>"]})
        assert (await look_at_stream(admin, stream)).epoch == ""


@pytest.mark.parametrize(("seen", "epoch"), [(1, "e"), (2, "e"), (3, "new")])
async def test_a_stream_that_ends_before_what_was_seen_becomes_another_log(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, seen: int, epoch: str
) -> None:
    """Or the same offsets would be given to other entries."""
    monkeypatch.setattr(stream_module, "BEHIND_LIMIT_S", 0.05)
    monkeypatch.setattr(stream_module, "_BEHIND_AGAIN_S", 0.01)
    stream = new_stream()
    async with session(server.url) as admin:
        await ensure_stream(admin, stream, BOUNDS, new_epoch="e")
        await write(admin, stream, count=2)
        state = await settled_stream(admin, stream, seen=seen, new_epoch="new")
        assert state == StreamState(epoch, first=1, last=2)
        assert (await config_of(admin, stream))["metadata"]["gateway-epoch"] == epoch
        assert (await look_at_stream(admin, stream)).epoch == epoch


async def test_a_stream_that_comes_to_take_too_little_is_away_and_says_both_numbers(
    server: NatsServer,
) -> None:
    """The store lost a preserved step of 120 kB; a node that is asked has to say so."""
    stream = new_stream()
    async with jetstream_log(server.url, stream=stream) as log, session(server.url) as admin:
        config = (await admin.api(f"STREAM.INFO.{stream}"))["config"]
        await admin.api(f"STREAM.UPDATE.{stream}", {**config, "max_msg_size": 65536})
        await until(lambda: not log.available)
        assert "65536 bytes in one message, and the store needs 1048576" in str(log.reason)
        with pytest.raises(StoreUnavailable):
            await log.append([draft(size=120_000)])
        await admin.api(f"STREAM.UPDATE.{stream}", {**config, "max_msg_size": -1})
        await until(lambda: log.available)
        await log.append([draft(size=120_000)])
