"""The system clock is set by an hour while tasks, leases, locks, workers and browsers are there."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

import pytest

from gateway.app.clock import SystemClock
from gateway.domain.timestamps import seconds_of
from tests.nats import NatsServer
from tests.scenarios.harness import GatewayProcess, browser, gateway_process
from tests.scenarios.set_clock import SetStore
from tests.soak import SOAK, times

pytestmark = pytest.mark.own_store

CLOCK = SystemClock()
HOUR_S = 3600
# So exactly is anything due, by the log; a test's own clock has the machine's other tests, too.
EXACTLY_S = 0.25 if SOAK else 2.0
MORE_OR_LESS_S = 1.5
DEADLINE_S, LOCK_S, OFFLINE_S = 4.0, 3.0, 1.6
QUICK = {"heartbeat_timeout": 0.8, "offline_after": OFFLINE_S, "store_timeout": 2}
# Each kind of store, each way of setting; in `make soak` all of them.
STEPS = [("memory", -HOUR_S), ("nats", HOUR_S), ("memory", HOUR_S), ("nats", -HOUR_S)]
STEPS = STEPS[: times(2, 4)]


class Machine:
    """A machine with a gateway, and perhaps the store, whose clock can be set."""

    def __init__(self, file: Path, store: SetStore | None) -> None:
        self._file, self._store = file, store

    def set(self, ahead_s: int) -> None:
        """Set the clock so far ahead of the real one, at once everywhere."""
        new = self._file.with_suffix(".new")
        new.write_text(str(ahead_s))
        new.replace(self._file)
        if self._store is not None:
            self._store.ahead_s = ahead_s


@contextlib.asynccontextmanager
async def machine(
    kind: str,
    server: NatsServer,
    folder: Path,
    said: IO[bytes],
    *,
    stream: str = "SET",
    ahead_s: int = 0,
) -> AsyncIterator[tuple[Machine, GatewayProcess]]:
    file = folder / "ahead"
    async with contextlib.AsyncExitStack() as stack:
        store = None
        settings: dict[str, Any] = {**QUICK, "store": "memory"}
        if kind == "nats":
            store = await stack.enter_async_context(SetStore(server.port))
            settings |= {
                "store": f"nats://127.0.0.1:{store.port}",
                "store_stream": stream,
            }
        here = Machine(file, store)
        here.set(ahead_s)
        yield (
            here,
            await stack.enter_async_context(
                gateway_process(
                    target="tests.scenarios.set_clock:gateway",
                    env={"SET_CLOCK": str(file)},
                    said=said,
                    **settings,
                )
            ),
        )


def at(event: dict[str, Any]) -> float:
    return seconds_of(event["timestamp"])


@pytest.mark.parametrize(("kind", "step_s"), STEPS)
async def test_what_is_due_is_due_on_time_when_the_clock_is_set(
    kind: str, step_s: int, nats: NatsServer, tmp_path: Path
) -> None:
    with tempfile.TemporaryFile() as said:
        async with (
            machine(kind, nats, tmp_path, said, stream=f"SET{step_s}") as (here, gateway),
            browser(gateway.url, topics=["*"]) as seen,
        ):
            asked = CLOCK.monotonic()
            task_id = (await gateway.task("nobody", timeout=DEADLINE_S))["task_id"]
            worker = (await gateway.http.post("/api/agents", json={"handle": "quiet"})).json()
            held = {"resource_key": "file", "holder": "a", "ttl": LOCK_S}
            assert (await gateway.http.post("/api/locks", json=held)).status_code == 200
            locked = CLOCK.monotonic()
            await CLOCK.sleep(0.8)
            here.set(step_s)
            lost = await seen.event(
                "agent_status_changed", agent_id=worker["agent_id"], status="offline"
            )
            ready = (await gateway.http.get("/ready")).json()
            expired = await seen.event("lock_expired")
            after_lock_s = CLOCK.monotonic() - locked
            ended = await seen.finished(task_id)
            after_task_s = CLOCK.monotonic() - asked
            created = await seen.event("task_submitted", task_id=task_id)
            registered = await seen.event("agent_registered", agent_id=worker["agent_id"])
            taken = await seen.event("lock_changed")
            # Set back to where it was, and more work.
            here.set(0)
            again = (await gateway.task("nobody", timeout=1.0))["task_id"]
            await seen.finished(again)
            assert "warnings" not in (await gateway.http.get("/ready")).json()
            await CLOCK.sleep(2.5)  # two looks at the clock are so far apart
        said.seek(0)
        log = said.read().decode()
    assert ended["reason"] == "caller_deadline"
    assert at(ended) - at(created) == pytest.approx(DEADLINE_S, abs=EXACTLY_S)
    assert at(expired) - at(taken) == pytest.approx(LOCK_S, abs=EXACTLY_S)
    assert at(lost) - at(registered) <= OFFLINE_S + EXACTLY_S
    assert after_task_s == pytest.approx(DEADLINE_S, abs=MORE_OR_LESS_S)
    assert after_lock_s == pytest.approx(LOCK_S, abs=MORE_OR_LESS_S)
    word = "behind" if step_s > 0 else "ahead of"
    assert f"the log's time is 3600.0 s {word} this machine's clock" in ready["warnings"][0]
    assert f"this machine's clock was set {'forward' if step_s > 0 else 'back'} by 3600" in log


async def test_a_node_that_joins_after_a_step_takes_the_others_time(
    nats: NatsServer, tmp_path: Path
) -> None:
    """Else it would end what the others hold, an hour early."""
    with tempfile.TemporaryFile() as said:
        other_machine = tmp_path / "other"
        other_machine.mkdir()
        async with machine("nats", nats, tmp_path, said) as (here, gateway):
            created = await gateway.task("nobody", timeout=20.0)
            here.set(HOUR_S)
            async with (
                machine("nats", nats, other_machine, said, ahead_s=HOUR_S) as (_, second),
                browser(second.url, topics=["*"]) as seen,
            ):
                more = await second.task("nobody", timeout=1.0)
                await seen.finished(more["task_id"])
                first = await gateway.get(f"/api/tasks/{created['task_id']}")
                other = await second.get(f"/api/tasks/{more['task_id']}")
                assert first["status"] == "pending"
                apart_s = seconds_of(other["created_at"]) - seconds_of(first["created_at"])
                assert 0 < apart_s < 20
                await gateway.http.post(f"/api/tasks/{created['task_id']}/cancel")
