"""The folds are written down before the log drops what they know, whatever its bounds are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from gateway.domain.access import LOCAL_OPERATOR
from gateway.domain.errors import StoreUnavailable, Unavailable
from gateway.execution.engine import Engine
from gateway.execution.node import watch
from gateway.execution.record import snapshot
from gateway.execution.record.snapshot import VERSION, document, encode
from gateway.ports import Draft, Snapshot
from tests.execution.kept import Cluster, Node, until_killed
from tests.execution.world import World

LOG_EVENTS = 1600
QUARTER = LOG_EVENTS // 4


async def note(engine: Engine, *, size: int = 0) -> None:
    """Append one entry about nothing."""
    about = {"type": "notification", "channel": "c", "subject": "s", "payload": {"x": "x" * size}}
    await engine.call("event.publish", about, LOCAL_OPERATOR)


async def notes(cluster: Cluster, engine: Engine, count: int, *, size: int = 0) -> None:
    """Append so many, one a millisecond."""
    for _ in range(count):
        await note(engine, size=size)
        await cluster.passing(0.001)


async def known_again(cluster: Cluster, task_id: str) -> bool:
    """Whether a gateway that starts now knows this task."""
    engine = cluster.node().engine
    async with until_killed(engine):
        return task_id in engine.parts.state.tasks


def known(node: Node) -> bytes:
    """Everything that the folds of a node know."""
    return document(encode(node.state))


def critical(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said so loud."""
    return [r.getMessage() for r in caplog.records if r.levelno == logging.CRITICAL]


# --- before the log drops it --------------------------------------------------------------------


async def test_it_is_saved_before_the_log_drops_it_for_its_bytes() -> None:
    cluster = Cluster(log_bytes=1024**2)
    gateway, engine, _ = cluster.node()
    async with until_killed(engine):
        task_id = (await gateway.submit("nobody", timeout=3000.0)).task_id
        await notes(cluster, engine, 40, size=60_000)
    assert cluster.shared.oldest > cluster.entries[0].offset
    assert await known_again(cluster, task_id)


async def test_small_entries_count_as_what_a_store_may_keep_for_them() -> None:
    """In JetStream a message has headers and a subject, so that more is dropped than was told."""
    cluster = Cluster(log_bytes=1024**2)
    engine = cluster.node().engine
    async with until_killed(engine):
        await notes(cluster, engine, 256)  # so many kilobytes, were they empty
        assert sum(entry.size for entry in cluster.entries) < 1024**2 / 4
        assert cluster.snapshots


async def test_it_is_saved_before_the_log_drops_it_for_its_age() -> None:
    """Also when nothing more happens; and once, not again and again."""
    cluster = Cluster(log_age=4000.0, task_timeout=10_000.0)
    gateway, engine, _ = cluster.node()
    async with until_killed(engine):
        task_id = (await gateway.submit("nobody", timeout=9000.0)).task_id
        await cluster.passing(990)
        assert not cluster.snapshots
        await cluster.passing(20)
        assert len(cluster.snapshots) == 1
        head = engine.log.head
        await cluster.passing(4000)
        assert all(after.offset > head for after in cluster.snapshots[1:])
    assert await known_again(cluster, task_id)


async def test_what_was_old_when_it_was_read_is_saved_at_once() -> None:
    cluster = Cluster(log_age=4000.0)
    engine = cluster.node().engine
    async with until_killed(engine):
        await note(engine)
    await cluster.passing(3000)
    async with until_killed(cluster.node().engine):
        await cluster.passing(1)
        assert len(cluster.snapshots) == 1


async def test_what_was_dropped_unseen_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(log_age=4000.0)
    engine = cluster.node().engine
    async with until_killed(engine):
        await note(engine)
    async with until_killed(cluster.node().engine):
        pass
    assert critical(caplog) == []
    await cluster.passing(5000)
    async with until_killed(cluster.node().engine):
        pass
    (told,) = critical(caplog)
    assert f"ends at offset 0, and the log begins at {cluster.shared.head + 1}" in told
    assert "log_age=4000" in told


# --- how much is unsaved ------------------------------------------------------------------------


async def test_after_one_that_failed_others_are_saved() -> None:
    cluster = Cluster(log_events=LOG_EVENTS)
    _, engine, log = cluster.node()
    async with until_killed(engine):
        log.save_errors = [StoreUnavailable("no leader")] * 3
        await notes(cluster, engine, QUARTER)
        await notes(cluster, engine, 5)
        assert len(log.save_errors) == 2  # it is not tried again at once
        await cluster.passing(3 * watch.RETRY_S)
        assert len(cluster.snapshots) == 1
        await notes(cluster, engine, QUARTER)
        assert len(cluster.snapshots) == 2


async def test_what_another_node_has_saved_is_not_saved_again_and_the_rest_is() -> None:
    """Offsets have gaps: the count of entries is not their difference."""
    cluster = Cluster(log_events=LOG_EVENTS)
    engine = cluster.node().engine
    async with until_killed(engine):
        await notes(cluster, engine, QUARTER - 100)
        saved = engine.log.head
        await notes(cluster, engine, 50)
        engine.parts.watch.saved_elsewhere(saved)
        await notes(cluster, engine, QUARTER - 100)
        assert cluster.snapshots == []
        await notes(cluster, engine, 100)
        assert len(cluster.snapshots) == 1
        await notes(cluster, engine, QUARTER - 100)
        assert len(cluster.snapshots) == 1


async def test_however_much_the_log_keeps_a_start_folds_no_more_than_so_many_entries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "ENTRIES_UNSAVED_MAX", 100)
    cluster = Cluster(log_events=1_000_000)
    engine = cluster.node().engine
    async with until_killed(engine):
        await notes(cluster, engine, 90)
        assert cluster.snapshots == []
        await notes(cluster, engine, 210)
        assert len(cluster.snapshots) == 3


async def test_what_a_start_reads_counts_as_the_entries_that_it_is() -> None:
    cluster = Cluster(log_events=LOG_EVENTS)
    engine = cluster.node().engine
    async with until_killed(engine):
        await notes(cluster, engine, QUARTER // 2)
    engine = cluster.node().engine
    async with until_killed(engine):
        await notes(cluster, engine, QUARTER // 2 - 10)
        assert cluster.snapshots == []
        await notes(cluster, engine, 10)
        assert len(cluster.snapshots) == 1


async def test_what_happens_while_it_is_written_is_in_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A gateway that starts from it reads on exactly where it ends."""
    monkeypatch.setattr(snapshot, "SLICE_ITEMS", 1)
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        for _ in range(5):
            await node.gateway.submit("nobody", timeout=3000.0)
        offset, before = node.log.head, known(node)
        saving = asyncio.ensure_future(node.engine.parts.watch.save())
        await asyncio.sleep(0)  # noqa: TID251 - one turn, so that it has begun
        for task_id in list(node.state.tasks):
            await node.engine.call("task.cancel", {"task_id": task_id}, LOCAL_OPERATOR)
        second = asyncio.ensure_future(node.engine.parts.watch.save())
        assert await saving
        first, _ = cluster.snapshots[0], await second
        assert (first.offset, document(first.body)) == (offset, before)
        last = cluster.snapshots[1]
        assert (last.offset, document(last.body)) == (node.log.head, known(node))
    again = cluster.node()
    async with until_killed(again.engine):
        assert known(again) == known(node)


async def test_a_snapshot_of_a_log_that_is_replaced_meanwhile_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "SLICE_ITEMS", 1)
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        for _ in range(5):
            await node.gateway.submit("nobody", timeout=3000.0)
        saving = asyncio.ensure_future(node.engine.parts.watch.save())
        await asyncio.sleep(0)  # noqa: TID251 - one turn, so that it has begun
        node.log.another_epoch = "another"
        assert await saving
    assert cluster.snapshots == []


# --- the watch goes on --------------------------------------------------------------------------


async def absence(cluster: Cluster, node: Node) -> None:
    """Let the store be away for five seconds, as this node sees it."""
    node.log.away = True
    await cluster.passing(5)
    node.log.away = False
    await cluster.passing(1)


async def test_whatever_a_save_raises_the_watch_over_the_store_goes_on() -> None:
    cluster = Cluster(log_events=LOG_EVENTS)
    node = cluster.node()
    async with until_killed(node.engine):
        node.log.save_errors = [RuntimeError("a mistake of ours")]
        await notes(cluster, node.engine, QUARTER)
        assert not node.log.save_errors
        await absence(cluster, node)
        assert len(cluster.said("system_recovered", scope="store")) == 1
        assert len(cluster.snapshots) == 1


async def test_an_absence_that_the_store_does_not_take_is_tried_again_after_a_pause() -> None:
    cluster = Cluster()
    node = cluster.node()
    tries = 0

    async def refuse(drafts: Sequence[Draft]) -> None:
        nonlocal tries
        tries += 1
        if tries > 1000:
            node.log.before = None
        raise StoreUnavailable("insufficient storage")

    async with until_killed(node.engine):
        node.log.before = refuse
        await absence(cluster, node)
        await cluster.passing(10)
        assert 10 <= tries <= 12
        node.log.before = None
        await cluster.passing(2)
        assert len(cluster.said("graceful_degradation", scope="store")) == 1


async def test_the_first_absence_after_a_start_is_recorded_though_an_earlier_one_is_forgotten() -> (
    None
):
    """What a node reads begins after the snapshot; the store remembers more than it."""
    cluster = Cluster()
    first = cluster.node()
    async with until_killed(first.engine):
        await absence(cluster, first)
        assert await first.engine.parts.watch.save()
    again = cluster.node()
    async with until_killed(again.engine):
        assert again.log.last_offset("store/log") == 0
        await absence(cluster, again)
    assert len(cluster.said("system_recovered", scope="store")) == 2


async def test_of_two_nodes_one_records_what_both_have_seen() -> None:
    cluster = Cluster()
    one, two = cluster.node(), cluster.node()
    async with until_killed(one.engine), until_killed(two.engine):
        one.log.away = two.log.away = True
        await cluster.passing(5)
        one.log.away = two.log.away = False
        await cluster.passing(5)
    assert len(cluster.said("system_recovered", scope="store")) == 1


# --- beginning ----------------------------------------------------------------------------------


async def test_callers_are_told_how_far_the_log_is_read_until_it_is() -> None:
    cluster = Cluster()
    node = cluster.node()
    watched = node.engine.parts.watch
    reasons = [watched.reason]
    with pytest.raises(Unavailable, match="being read") as refused:
        watched.require_ready()
    assert refused.value.retry_after == watch.READING_RETRY_S
    watched._progress(30, 400)
    reasons.append(watched.reason)
    async with until_killed(node.engine):
        reasons.append(watched.reason)
        watched.require_ready()
        node.log.away = True
        reasons.append(watched.reason)
        watched.require_ready()  # what is known here is still shown
    assert reasons == [
        "the log is being read",
        "the log is being read (30 of 400 entries)",
        None,
        "the store is away",
    ]


async def test_a_node_waits_for_a_store_that_gives_no_snapshot_yet() -> None:
    cluster = Cluster(log_events=LOG_EVENTS)
    first = cluster.node()
    async with until_killed(first.engine):
        task_id = (await first.gateway.submit("writer", timeout=3000.0)).task_id
        assert await first.engine.parts.watch.save()
    node = cluster.node()
    load, refusals = node.log.load_snapshot, [StoreUnavailable("no leader")] * 3

    async def load_later() -> Snapshot | None:
        if refusals:
            raise refusals.pop()
        return await load()

    node.log.load_snapshot = load_later  # type: ignore[method-assign]
    before = cluster.clock.monotonic()
    async with until_killed(node.engine):
        assert cluster.clock.monotonic() - before == pytest.approx(3 * watch.RETRY_S)
        assert task_id in node.state.tasks


@pytest.mark.parametrize(
    ("version", "body", "says"),
    [
        (VERSION + 1, b"{}", f"format {VERSION + 1}"),
        (VERSION, b"{", "cannot be read"),
        (VERSION, b"{}", "cannot be read"),
    ],
)
async def test_a_snapshot_that_cannot_be_used_is_left_and_the_log_is_read_whole(
    caplog: pytest.LogCaptureFixture, version: int, body: bytes, says: str
) -> None:
    cluster = Cluster()
    first = cluster.node()
    async with until_killed(first.engine):
        task_id = (await first.gateway.submit("writer", timeout=3000.0)).task_id
    cluster.snapshots.append(Snapshot(cluster.shared.head, version, body))
    node = cluster.node()
    async with until_killed(node.engine):
        assert task_id in node.state.tasks
    assert says in caplog.text
    assert "read whole" in caplog.text


async def test_after_a_hole_in_the_log_everything_is_read_anew() -> None:
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        task_id = (await node.gateway.submit("writer", timeout=3000.0)).task_id
        node.state.tasks.clear()  # as if this node had missed it
        node.log.begin_anew()
        await cluster.passing(1)
        assert node.engine.parts.watch.ready
        assert task_id in node.state.tasks


async def test_there_is_nothing_to_save_on_a_log_that_ends_with_its_process(here: World) -> None:
    await here.submit("writer")
    assert await here.engine.parts.watch.save()
    assert here.engine.parts.watch.saved == 0


async def test_what_was_saved_is_not_saved_again_until_something_is_new() -> None:
    cluster = Cluster()
    node = cluster.node()
    async with until_killed(node.engine):
        for count in (1, 2):
            await note(node.engine)
            for _ in range(2):
                assert await node.engine.parts.watch.save()
            assert len(cluster.snapshots) == count
            assert node.engine.parts.watch.saved == node.log.head
