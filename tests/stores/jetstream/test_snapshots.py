"""Snapshots in their stream: whole or none, the newest two, and in pieces that the server takes."""

from __future__ import annotations

import orjson
import pytest

from gateway.ports import Snapshot
from gateway.stores.jetstream.session import Session, answer_of
from gateway.stores.jetstream.snapshots import load_snapshot, save_snapshot
from tests.nats import NatsServer
from tests.stores.drafts import draft
from tests.stores.jetstream.world import jetstream_log, new_stream, session, until


async def save(
    admin: Session, stream: str, offset: int, body: bytes = b"folds", *, epoch: str = "e", id: str
) -> Snapshot:
    snapshot = Snapshot(offset, 1, body)
    await save_snapshot(admin, stream, epoch=epoch, snapshot=snapshot, replicas=1, id=id)
    return snapshot


async def subjects(admin: Session, stream: str) -> list[str]:
    info = await admin.api(f"STREAM.INFO.{stream}_SNAPSHOTS", {"subjects_filter": ">"})
    return sorted(subject.partition(".")[2] for subject in info["state"]["subjects"])


async def test_without_a_stream_of_snapshots_there_is_none(server: NatsServer) -> None:
    async with session(server.url) as admin:
        assert await load_snapshot(admin, new_stream(), epoch="e") is None


@pytest.mark.parametrize("size", [0, 1, 512 * 1024, 512 * 1024 + 1, 1_300_000])
async def test_a_snapshot_of_any_size_is_given_back(server: NatsServer, size: int) -> None:
    async with session(server.url) as admin:
        stream = new_stream()
        saved = await save(admin, stream, 16, b"x" * size, id="a")
        assert await load_snapshot(admin, stream, epoch="e") == saved


async def test_a_snapshot_as_it_is_stored(server: NatsServer) -> None:
    """Chunks and a manifest, which every later version has to read."""
    async with session(server.url) as admin:
        stream = new_stream()
        await save(admin, stream, 16, b"folds", id="a")
        key = f"{16:020d}-a"
        assert await subjects(admin, stream) == [f"{key}.0", f"{key}.manifest"]
        manifest = await admin.request(
            f"$JS.API.DIRECT.GET.{stream}_SNAPSHOTS.{stream}_SNAPSHOTS.{key}.manifest"
        )
        assert orjson.loads(manifest.data) == {
            "format": 1,
            "epoch": "e",
            "offset": 16,
            "version": 1,
            "chunks": 1,
            "sha256": "212aa61b2ca4694314cbcb105e6df22947597c2010ae78f3be2084438c5c6e55",
        }


async def test_the_newest_snapshot_of_the_epoch_is_given(server: NatsServer) -> None:
    async with session(server.url) as admin:
        stream = new_stream()
        newest = await save(admin, stream, 160, id="a")
        await save(admin, stream, 32, id="b")
        other = await save(admin, stream, 8, epoch="other", id="c")
        assert await load_snapshot(admin, stream, epoch="e") == newest
        assert await load_snapshot(admin, stream, epoch="other") == other
        assert await load_snapshot(admin, stream, epoch="none") is None


async def test_an_unfinished_or_damaged_snapshot_is_passed_over(server: NatsServer) -> None:
    async with session(server.url) as admin:
        stream = new_stream()
        whole = await save(admin, stream, 16, id="a")
        await save(admin, stream, 32, id="b")
        key = f"{stream}_SNAPSHOTS.{32:020d}-b"
        answer_of(await admin.request(f"{key}.0", b"other"))  # not what the manifest says
        assert await load_snapshot(admin, stream, epoch="e") == whole
        await admin.api(f"STREAM.PURGE.{stream}_SNAPSHOTS", {"filter": f"{key}.manifest"})
        assert await load_snapshot(admin, stream, epoch="e") == whole


async def test_a_snapshot_of_another_format_is_passed_over(server: NatsServer) -> None:
    async with session(server.url) as admin:
        stream = new_stream()
        whole = await save(admin, stream, 16, id="a")
        key = f"{stream}_SNAPSHOTS.{32:020d}-b"
        answer_of(await admin.request(f"{key}.manifest", orjson.dumps({"format": 2})))
        assert await load_snapshot(admin, stream, epoch="e") == whole


async def test_what_another_node_is_writing_is_not_dropped(server: NatsServer) -> None:
    """A newer snapshot without a manifest is not finished yet; an older one never will be."""
    async with session(server.url) as admin:
        stream = new_stream()
        await save(admin, stream, 16, id="a")
        for offset in (8, 64):
            answer_of(await admin.request(f"{stream}_SNAPSHOTS.{offset:020d}-x.0", b"chunk"))
        await save(admin, stream, 32, id="b")
        keys = {subject.partition(".")[0] for subject in await subjects(admin, stream)}
        assert keys == {f"{16:020d}-a", f"{32:020d}-b", f"{64:020d}-x"}


async def test_a_snapshot_of_another_log_or_an_unfinished_one_is_passed_over(
    server: NatsServer,
) -> None:
    stream = new_stream()
    async with (
        jetstream_log(server.url, stream=stream) as log,
        session(server.url) as admin,
    ):
        offset = await log.append([draft()])
        await log.save_snapshot(Snapshot(offset, 1, b"x" * 1_200_000))
        await admin.api(f"STREAM.PURGE.{stream}_SNAPSHOTS", {"filter": f"{stream}_SNAPSHOTS.*.1"})
        assert await log.load_snapshot() is None
        await log.save_snapshot(Snapshot(offset, 2, b"y"))
        assert await log.load_snapshot() == Snapshot(offset, 2, b"y")
        await admin.api(f"STREAM.DELETE.{stream}")
        await until(lambda: log.stale)
        assert await log.load_snapshot() is None


async def test_of_snapshots_two_are_kept(server: NatsServer) -> None:
    stream = new_stream()
    async with (
        jetstream_log(server.url, stream=stream) as log,
        session(server.url) as admin,
    ):
        for number in range(4):
            await log.save_snapshot(Snapshot(await log.append([draft()]), number, b"x" * 600_000))
        info = await admin.api(f"STREAM.INFO.{stream}_SNAPSHOTS")
        assert info["state"]["messages"] == 2 * 3
