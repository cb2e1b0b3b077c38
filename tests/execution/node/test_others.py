"""The other nodes on the log: what one of them hears, the others know."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.domain.access import LOCAL_OPERATOR
from gateway.ports import Pulse
from tests.execution.hands import TIMEOUT_S, registered
from tests.execution.kept import Cluster, SharedPulse, until_killed


async def note(cluster: Cluster, node: Any, count: int) -> None:
    """Append so many entries about nothing."""
    about = {"type": "notification", "channel": "c", "subject": "s", "payload": 1}
    for _ in range(count):
        await node.engine.call("event.publish", about, LOCAL_OPERATOR)
        await cluster.passing(0.001)


@pytest.mark.parametrize("connected", [True, False])
async def test_a_worker_that_one_node_hears_is_well_for_all_of_them(connected: bool) -> None:
    """Beats are not in the log; without signals the other node takes the worker for lost."""
    cluster = Cluster()
    pulse: Pulse | None = SharedPulse() if connected else None
    one, two = cluster.node(pulse=pulse), cluster.node(pulse=pulse)
    async with until_killed(one.engine), until_killed(two.engine):
        caller, proof = await registered(one, "s")
        for _ in range(10):
            await cluster.passing(1)
            await one.engine.call("agent.heartbeat", proof, caller)
        status = {event["status"] for event in cluster.said("agent_status_changed")}
        assert status == (set() if connected else {"suspect", "unhealthy", "healthy"})


async def test_a_worker_that_no_node_hears_any_more_is_lost_for_all_of_them() -> None:
    cluster = Cluster()
    pulse = SharedPulse()
    one, two = cluster.node(pulse=pulse), cluster.node(pulse=pulse)
    async with until_killed(one.engine), until_killed(two.engine):
        _, proof = await registered(one, "s")
        await cluster.passing(2 * TIMEOUT_S)
        assert two.state.workers[proof["agent_id"]].status == "unhealthy"


async def test_a_worker_is_asked_to_leave_on_whichever_node_it_beats() -> None:
    cluster = Cluster()
    pulse = SharedPulse()
    one, two = cluster.node(pulse=pulse), cluster.node(pulse=pulse)
    async with until_killed(one.engine), until_killed(two.engine):
        caller, proof = await registered(one, "s")
        asked = {"agent_id": proof["agent_id"], "grace": 7.0}
        await two.engine.call("agent.shutdown", asked, LOCAL_OPERATOR)
        await cluster.passing(1)
        beat = await one.engine.call("agent.heartbeat", proof, caller)
        assert beat["shutdown"] == {"grace": 7.0}
        # The node that was told does not tell it on.
        assert one.engine.parts.presence.take_asked() == {}


@pytest.mark.parametrize("connected", [True, False])
async def test_entries_that_one_node_has_saved_are_not_due_on_another(connected: bool) -> None:
    cluster = Cluster(log_events=400)
    pulse = SharedPulse() if connected else None
    one, two = cluster.node(pulse=pulse), cluster.node(pulse=pulse)
    async with until_killed(one.engine), until_killed(two.engine):
        await note(cluster, one, 60)
        assert await one.engine.parts.watch.save()
        await cluster.passing(1)
        await note(cluster, one, 60)
        await cluster.passing(1)
        assert len(cluster.snapshots) == (1 if connected else 2)


async def test_a_node_ignores_its_own_signals_and_says_so_of_those_it_cannot_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = Cluster()
    pulse = SharedPulse()
    node = cluster.node(pulse=pulse)
    async with until_killed(node.engine):
        _, proof = await registered(node, "s")
        await cluster.passing(1)
        mine = node.engine.parts.runner.holder
        presence = node.engine.parts.presence
        before = presence.beat_at(proof["agent_id"])
        await pulse.publish("heard", orjson.dumps([mine, [proof["agent_id"]]]))
        assert presence.beat_at(proof["agent_id"]) == before
        assert "unknown" not in caplog.text
        for body in (b"", b"{", b"3", b'["another"]', b'["another", 7]'):
            await pulse.publish("heard", body)
        await pulse.publish("leave", b'["another", ["only a name"]]')
        assert caplog.text.count("said something unknown") == 6
        # A subject of a later version means nothing to this one.
        await pulse.publish("dance", b'["another", 1]')
        await pulse.publish("heard", orjson.dumps(["another", [proof["agent_id"]]]))
        assert presence.beat_at(proof["agent_id"]) == cluster.clock.wall()
