"""A worker's registration with a real gateway: as which worker, on which connection, how long."""

from __future__ import annotations

import pytest

from gateway.client.errors import CallFailed
from gateway.worker.registration import Identity, Registration
from tests.scenarios.proxy import Proxy
from tests.transports.world import SECRET, token, until, world
from tests.worker.crew import call, submit, working


async def test_a_worker_that_the_gateway_no_longer_knows_registers_again() -> None:
    async with world(heartbeat_timeout=0.6) as here, working(here.ws) as desk:
        agent_id = desk.registered[0].agent_id
        await call(here, "agent.remove", agent_id=agent_id)
        await until(lambda: len(desk.registered) > 1)
        assert desk.registered[1] == desk.registered[0]
        assert not here.engine.parts.state.workers[agent_id].removed


async def test_a_worker_comes_back_as_itself_or_else_as_a_new_one() -> None:
    async with world(secret=SECRET) as here:
        agent = token("w", "agent")
        async with working(here.ws, token=agent, identity=Identity("me", SECRET)) as desk:
            (mine,) = desk.registered
            assert (mine.agent_id != "me", mine.agent_secret) == (True, SECRET)
        async with working(here.ws, token=agent, identity=mine) as desk:
            assert desk.registered == [mine]
        stranger = Identity(mine.agent_id, "another-secret-of-another")
        async with working(here.ws, token=agent, identity=stranger) as desk:
            assert desk.registered[0].agent_id != mine.agent_id


async def test_a_token_without_the_scope_ends_the_worker() -> None:
    async with world(secret=SECRET) as here:
        with pytest.raises(CallFailed) as failed:
            async with working(here.ws, token=token("w", "events:read")):
                pass
        assert failed.value.code == "not_permitted"


@pytest.mark.parametrize("kept", [False, True])
async def test_a_task_that_an_earlier_process_held_is_given_back_unless_the_keeper_answers_for_it(
    kept: bool,
) -> None:
    async with world() as here:
        async with working(here.ws) as first:
            task = here.engine.parts.state.tasks[await submit(here)]
            await until(lambda: first.claims)
        known: list[tuple[str, int]] = []

        def keep(task_id: str, term: int) -> bool:
            known.append((task_id, term))
            return kept

        async with working(here.ws, identity=first.registered[0], answered_for=keep) as desk:
            assert known == [(task.task_id, 1)]
            if kept:
                assert (task.status, task.term) == ("running", 1)
                return
            await until(lambda: desk.claims)
            assert desk.claims[0]["term"] == 2


async def test_a_connection_that_gives_no_answers_is_given_up() -> None:
    """Its socket stays open, so that nothing but the missing answers to beats tells."""
    async with (
        world(heartbeat_timeout=0.6) as here,
        Proxy(here.port) as proxy,
        working(f"ws://127.0.0.1:{proxy.port}/ws") as desk,
    ):
        proxy.stalled = True
        before = proxy.connections
        await until(lambda: proxy.connections > before)
        proxy.stalled = False
        proxy.cut()
        await until(lambda: len(desk.registered) > 1)


async def test_a_call_that_is_too_large_for_a_frame_goes_over_http() -> None:
    async with world() as here, working(here.ws) as desk:
        task_id = await submit(here)
        await until(lambda: desk.claims)
        text = "x" * 100_000
        told = {"step": "large", "data": text}
        await desk.claimer.report("task.update", desk.claims[0], told)
        assert here.engine.parts.state.tasks[task_id].preserved.steps == {"large": text}
        told = {"step": "larger", "data": text * 3}
        with pytest.raises(CallFailed) as failed:
            await desk.claimer.report("task.update", desk.claims[0], told)
        assert (failed.value.code, failed.value.field) == ("too_large", "data")


async def test_a_call_waits_for_the_registration_as_long_as_it_may() -> None:
    registration = Registration(
        "ws://127.0.0.1:1/ws",
        token=None,
        about={},
        identity=None,
        status=lambda: "idle",
        holds=lambda task_id, term: False,
        on_registered=lambda identity: None,
        on_shutdown=lambda grace_s: None,
        on_notice=lambda name, about: None,
    )
    assert not registration.registered
    with pytest.raises(TimeoutError):
        await registration.call("task.claim", {}, timeout=0)


@pytest.mark.parametrize(
    ("heartbeat_timeout", "lease_ttl", "renew_every_s"), [(3.0, 60.0, 1.0), (15.0, 3.0, 1.0)]
)
async def test_a_lease_is_renewed_with_each_beat_or_three_times_in_its_length(
    heartbeat_timeout: float, lease_ttl: float, renew_every_s: float
) -> None:
    async with (
        world(heartbeat_timeout=heartbeat_timeout, lease_ttl=lease_ttl) as here,
        working(here.ws) as desk,
    ):
        assert desk.claimer._registration.renew_every_s == pytest.approx(renew_every_s)


def test_an_identity_does_not_show_its_secret() -> None:
    identity = Identity("me", "my-own-secret")
    assert "my-own-secret" not in repr(identity)
    assert identity.as_dict() == {"agent_id": "me", "agent_secret": "my-own-secret"}
