"""Workers that die, hang and come back, each in a process of its own with nothing of ours in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.app.clock import SystemClock
from tests.scenarios.harness import (
    ROOT,
    Browser,
    GatewayProcess,
    browser,
    gateway_process,
)
from tests.scenarios.proxy import Proxy
from tests.soak import times

# The tests share a gateway; each has agents and users of its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")

HEARTBEAT_S = 0.8
OFFLINE_S = 1.6

Event = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    """A gateway without agents of its own, and quick to notice a lost worker."""
    async with gateway_process(
        target=None,
        heartbeat_timeout=HEARTBEAT_S,
        offline_after=OFFLINE_S,
        retry_base=0.05,
        queue_limit=10_000,
        rate_http=0,
        rate_ws=0,
    ) as running:
        yield running


class WorkerProcess:
    """A running ``bare_worker``; see there what can be said to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.me: Event = {}

    async def said(self, what: str) -> Event:
        """Wait for the next thing of that kind that it says."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            while line := await self.process.stdout.readline():
                told: Event = json.loads(line)
                if told["what"] == what:
                    return told
        raise AssertionError(f"the worker ended without having {what}")

    def send(self, sign: signal.Signals) -> None:
        """Kill, stop or continue it."""
        self.process.send_signal(sign)

    def go(self) -> None:
        """Let it end what it holds."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")

    async def leave(self) -> None:
        """Let it say goodbye and end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert await self.process.wait() == 0

    @property
    def agent_id(self) -> str:
        agent_id: str = self.me["agent_id"]
        return agent_id

    @property
    def identity(self) -> str:
        """What the same worker needs to come back, as ``--identity``."""
        return json.dumps({name: self.me[name] for name in ("agent_id", "agent_secret")})


@contextlib.asynccontextmanager
async def worker_process(url: str, handle: str, **options: object) -> AsyncIterator[WorkerProcess]:
    """Start a worker; ``lease_ttl=1`` becomes ``--lease-ttl 1``."""
    flags = [
        text
        for name, value in options.items()
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.scenarios.bare_worker", url, handle, *flags),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    worker = WorkerProcess(process)
    try:
        worker.me = await worker.said("registered")
        yield worker
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def agent(gateway: GatewayProcess, agent_id: str) -> Event:
    """One worker as the gateway lists it."""
    shown: Event = await gateway.get(f"/api/agents/{agent_id}")
    return shown


async def holding(gateway: GatewayProcess, worker: WorkerProcess, handle: str, user: str) -> str:
    """Give a worker a task that it holds; returns the task's id."""
    task_id: str = (await gateway.task(handle, "hold", user_id=user))["task_id"]
    claimed = await worker.said("claimed")
    assert claimed["task_id"] == task_id
    return task_id


def entries(ledger: Path) -> list[tuple[str, str]]:
    """The ledger's lines: task_id and agent_id."""
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return [(task_id, agent_id) for task_id, agent_id in map(str.split, lines)]


def order_of(page: Browser, task_id: str) -> list[str]:
    """The types of a task's events, in order."""
    return [event["type"] for event in page.events if event.get("task_id") == task_id]


# --- lost ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.requirement("WS-19", "FLUX-01", "WEFT-08", "WEFT-W7", "WEFT-W9", "WEFT-W10")
@pytest.mark.requirement("MESH-W2", "MESH-W5", "MESH-W14")
async def test_a_worker_that_dies_or_hangs_is_told_of_and_another_does_its_work(
    gateway: GatewayProcess, sign: signal.Signals
) -> None:
    handle = user = f"lost-{sign.name}"
    async with (
        browser(gateway.url, user) as page,
        browser(gateway.url) as operator,
        worker_process(gateway.url, handle) as lost,
    ):
        task_id = await holding(gateway, lost, handle, user)
        async with worker_process(gateway.url, handle) as other:
            lost.send(sign)
            loop = asyncio.get_running_loop()
            sent_at = loop.time()
            error = await page.event("agent_error", within_s=2 * HEARTBEAT_S)
            assert page.at[error["offset"]] - sent_at < HEARTBEAT_S + 0.5
            assert error["error_type"] == "agent_lost"
            assert error["error_code"] == "heartbeat_lost"
            assert error["cause"] == "agent_lost"
            assert error["agent_id"] == lost.agent_id
            assert error["will_retry"] is True
            assert error["user_id"] == user
            # The gateway has told it by itself; a caller that asks is told the same.
            status = await operator.event(
                "agent_status_changed", agent_id=lost.agent_id, status="unhealthy"
            )
            assert status["previous_status"] == "suspect"
            assert status["error_id"] is not None
            assert (await other.said("claimed"))["task_id"] == task_id
            moved = await page.event("task_reassigned")
            assert moved["previous_agent_id"] == lost.agent_id
            assert moved["agent_id"] == other.agent_id
            other.go()
            finished = await page.finished(task_id)
            assert finished["result"] == other.agent_id
            assert finished["error_id"] == error["error_id"]
            await operator.event("agent_status_changed", agent_id=lost.agent_id, status="offline")
            assert (await agent(gateway, lost.agent_id))["status"] == "offline"
            assert (await agent(gateway, other.agent_id))["status"] == "healthy"
            changes = operator.all("agent_status_changed", agent_id=lost.agent_id)
            assert [change["status"] for change in changes] == ["suspect", "unhealthy", "offline"]
            first_sign = {signal.SIGKILL: "connection_lost", signal.SIGSTOP: "heartbeat_missed"}
            assert changes[0]["reason"] == first_sign[sign]
            page.check(complete=True)


@pytest.mark.requirement("FLUX-01", "FLUX-02")
async def test_a_socket_that_stays_open_in_silence_loses_its_task_and_serves_again_when_healed(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    """Nothing is closed, nothing arrives; afterwards the ledger shows each task once."""
    ledger = tmp_path / "ledger"
    async with (
        browser(gateway.url, "unplugged") as page,
        browser(gateway.url) as operator,
        Proxy(gateway.port) as proxy,
        worker_process(f"http://127.0.0.1:{proxy.port}", "unplugged", ledger=ledger) as silent,
    ):
        held = await holding(gateway, silent, "unplugged", "unplugged")
        proxy.stalled = True
        waiting = [
            (await gateway.task("unplugged", user_id="unplugged"))["task_id"] for _ in range(3)
        ]
        error = await page.event("agent_error", task_id=held)
        assert error["error_code"] == "heartbeat_lost"
        await operator.event("agent_status_changed", agent_id=silent.agent_id, status="unhealthy")
        # There is no other worker: tasks go on waiting and say so, and the lost one is given none.
        await page.event("task_waiting", task_id=waiting[0], waits_for="worker")
        assert order_of(page, waiting[0]) == ["task_submitted", "task_waiting"]
        proxy.stalled = False
        back = await operator.event(
            "agent_status_changed", agent_id=silent.agent_id, status="healthy"
        )
        assert back["previous_status"] in ("unhealthy", "offline")
        silent.go()
        assert (await silent.said("completed"))["refused"] == "stale_term"
        again = await silent.said("claimed")
        while again["task_id"] != held:
            again = await silent.said("claimed")
        silent.go()
        for task_id in (held, *waiting):
            assert (await page.finished(task_id))["outcome"] == "succeeded"
        worked = Counter(task_id for task_id, _ in entries(ledger))
        assert worked == {held: 2} | dict.fromkeys(waiting, 1)
        page.check(complete=True)


@pytest.mark.requirement("WS-15")
async def test_three_workers_killed_together_are_three_failures_and_each_ends(
    gateway: GatewayProcess,
) -> None:
    async with (
        browser(gateway.url, "three") as page,
        contextlib.AsyncExitStack() as stack,
    ):
        killed = [
            await stack.enter_async_context(worker_process(gateway.url, f"three-{number}"))
            for number in range(3)
        ]
        tasks = [
            await holding(gateway, worker, f"three-{number}", "three")
            for number, worker in enumerate(killed)
        ]
        for worker in killed:
            worker.send(signal.SIGKILL)
        errors = [await page.event("agent_error", task_id=task_id) for task_id in tasks]
        assert len({error["error_id"] for error in errors}) == 3
        assert {error["agent_name"] for error in errors} == {"three-0", "three-1", "three-2"}
        for number, task_id in enumerate(tasks):
            worker = await stack.enter_async_context(worker_process(gateway.url, f"three-{number}"))
            await worker.said("claimed")
            worker.go()
            assert (await page.finished(task_id))["outcome"] == "succeeded"
        recovered = {event["error_id"] for event in page.all("system_recovered", scope="task")}
        assert recovered == {error["error_id"] for error in errors}
        async with browser(gateway.url, "three", snapshot=True) as late:
            assert late.subscribed["snapshot"]["failures"] == []
            assert late.subscribed["snapshot"]["tasks"] == []
        page.check(complete=True)


@pytest.mark.requirement("MESH-10", "MESH-W8")
async def test_a_silent_worker_is_marked_without_being_asked_about(gateway: GatewayProcess) -> None:
    """Over HTTP there is no socket that could break; its own last word does not matter."""
    async with browser(gateway.url) as operator:
        response = await gateway.http.post("/api/agents", json={"handle": "silent"})
        agent_id = response.json()["agent_id"]
        beat = await gateway.http.post(f"/api/agents/{agent_id}/heartbeat", json={"status": "busy"})
        assert beat.status_code == 200
        loop = asyncio.get_running_loop()
        last_beat = loop.time()
        for status, due_s in (("suspect", 0.0), ("unhealthy", HEARTBEAT_S), ("offline", OFFLINE_S)):
            change = await operator.event("agent_status_changed", agent_id=agent_id, status=status)
            told_s = operator.at[change["offset"]] - last_beat
            assert due_s - 0.1 <= told_s < max(due_s, HEARTBEAT_S) + 0.75
            assert change["error_type"] == "agent_lost"
        shown = await agent(gateway, agent_id)
        assert shown["status"] == "offline"


# --- leases --------------------------------------------------------------------------------------


@pytest.mark.requirement("MESH-09", "MESH-11", "MESH-W6", "WEFT-W16", "WEFT-09", "FLUX-W17")
async def test_a_hung_worker_loses_its_lease_and_what_it_says_later_is_refused(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    """Over HTTP a claim is lost when its lease ends; a worker that wakes up later is told so."""
    ledger = tmp_path / "ledger"
    async with (
        browser(gateway.url, "zombie") as page,
        browser(gateway.url) as operator,
        worker_process(gateway.url, "zombie", door="http", lease_ttl=1.2, ledger=ledger) as zombie,
    ):
        task_id = await holding(gateway, zombie, "zombie", "zombie")
        # While it lives its beats renew the lease.
        await operator.event("lease_changed", task_id=task_id, action="renewed")
        async with worker_process(
            gateway.url, "zombie", door="http", lease_ttl=1.2, ledger=ledger
        ) as heir:
            zombie.send(signal.SIGSTOP)
            await operator.event(
                "agent_status_changed", agent_id=zombie.agent_id, status="unhealthy"
            )
            error = await page.event("agent_error", task_id=task_id)
            assert error["error_code"] == "lease_expired"
            assert (await heir.said("claimed"))["term"] == 2
            moved = await page.event("task_reassigned")
            assert moved["previous_agent_id"] == zombie.agent_id
            assert moved["agent_id"] == heir.agent_id
            zombie.go()
            zombie.send(signal.SIGCONT)
            assert (await zombie.said("completed"))["refused"] == "stale_term"
            back = await operator.event("system_recovered", scope="agent", agent_id=zombie.agent_id)
            lost = operator.all(
                "agent_status_changed", agent_id=zombie.agent_id, status="unhealthy"
            )
            # On a busy machine it may have been lost, and back, before.
            assert back["error_id"] in {event["error_id"] for event in lost}
            # It is back, and has not got its old lease back.
            assert (await agent(gateway, zombie.agent_id))["tasks"] == []
            shown = await gateway.get(f"/api/tasks/{task_id}")
            assert shown["lease"]["agent_id"] == heir.agent_id
            assert shown["lease"]["term"] == 2
            heir.go()
            finished = await page.finished(task_id)
            assert finished["result"] == heir.agent_id
            assert entries(ledger) == [(task_id, zombie.agent_id), (task_id, heir.agent_id)]
            assert len(page.all("task_finished", task_id=task_id)) == 1
            page.check(complete=True)


@pytest.mark.requirement("MESH-09")
async def test_a_claim_over_http_of_a_worker_that_was_killed_runs_out(
    gateway: GatewayProcess,
) -> None:
    async with (
        browser(gateway.url, "expired") as page,
        worker_process(gateway.url, "expired", door="http", lease_ttl=0.8) as killed,
    ):
        task_id = await holding(gateway, killed, "expired", "expired")
        killed.send(signal.SIGKILL)
        error = await page.event("agent_error", task_id=task_id)
        assert error["error_code"] == "lease_expired"
        assert error["agent_id"] == killed.agent_id
        async with worker_process(gateway.url, "expired") as heir:
            await heir.said("claimed")
            moved = await page.event("task_reassigned")
            assert moved["previous_agent_id"] == killed.agent_id
            assert moved["agent_id"] == heir.agent_id
            late = await gateway.http.post(
                f"/api/tasks/{task_id}/complete",
                json={"agent_id": killed.agent_id, "term": 1, "result": "late"},
            )
            assert late.status_code == 409
            assert late.json()["code"] == "stale_term"
            heir.go()
            assert (await page.finished(task_id))["result"] == heir.agent_id


@pytest.mark.requirement("FLUX-16", "WEFT-W20")
async def test_a_worker_that_hangs_over_the_limit_is_a_timeout_and_its_slot_is_free(
    gateway: GatewayProcess,
) -> None:
    """Its lease is long: the limit of the attempt ends it."""
    async with (
        browser(gateway.url, "limit") as page,
        worker_process(gateway.url, "limit", door="http", limit=1.0) as hung,
    ):
        task_id = await holding(gateway, hung, "limit", "limit")
        hung.send(signal.SIGSTOP)
        error = await page.event("agent_error", task_id=task_id)
        assert error["error_type"] == "timeout"
        assert error["cause"] == "timeout"
        assert (await agent(gateway, hung.agent_id))["tasks"] == []
        hung.go()
        hung.send(signal.SIGCONT)
        assert (await hung.said("completed"))["refused"] == "stale_term"
        # Free again: it takes the next attempt itself.
        assert (await hung.said("claimed"))["attempt"] == 2
        hung.go()
        assert (await page.finished(task_id))["outcome"] == "succeeded"
        page.check(complete=True)


@pytest.mark.requirement("WEFT-19", "WEFT-W21")
@pytest.mark.own_store
@pytest.mark.parametrize("in_time", [True, False])
async def test_a_gateway_that_is_asked_to_stop_waits_for_its_workers_and_ends_every_task(
    in_time: bool,
) -> None:
    """
    Within its grace they finish; what they hold then is ended with a reason, not left open.

    So it is where the gateway's memory is all that knows the tasks; see ``test_nodes`` for others.
    """
    async with (
        gateway_process(
            target=None, store="memory", drain_grace=20 if in_time else 0.5
        ) as stopping,
        browser(stopping.url, "term") as page,
        worker_process(stopping.url, "term") as worker,
    ):
        task_id = await holding(stopping, worker, "term", "term")
        waiting = (await stopping.task("term", user_id="term"))["task_id"]
        stopping.process.send_signal(signal.SIGTERM)
        assert (await page.finished(waiting))["reason"] == "shutdown"
        if in_time:
            worker.go()
        finished = await page.finished(task_id)
        expected = ("succeeded", None) if in_time else ("failed", "shutdown")
        assert (finished["outcome"], finished.get("reason")) == expected
        assert await stopping.stop() == 0
        page.check(complete=True)


async def test_a_gateway_that_was_stopped_for_a_while_blames_no_worker(
    gateway: GatewayProcess,
) -> None:
    """Longer than a lease and than a worker may be silent: no worker is lost, the work goes on."""
    async with (
        browser(gateway.url, "paused") as page,
        browser(gateway.url) as operator,
        worker_process(gateway.url, "paused") as socketed,
        worker_process(gateway.url, "posting", door="http", lease_ttl=1) as posting,
    ):
        tasks = [
            await holding(gateway, worker, handle, "paused")
            for worker, handle in ((socketed, "paused"), (posting, "posting"))
        ]
        gateway.process.send_signal(signal.SIGSTOP)
        await SystemClock().sleep(2 * OFFLINE_S)
        gateway.process.send_signal(signal.SIGCONT)
        # Each beats again, and is heard.
        for worker in (socketed, posting):
            worker.go()
            assert (await worker.said("completed"))["refused"] is None
        for task_id in tasks:
            assert (await page.finished(task_id))["outcome"] == "succeeded"
        assert page.all("agent_error") == []
        for worker in (socketed, posting):
            assert operator.all("agent_status_changed", agent_id=worker.agent_id) == []
        page.check(complete=True)


# --- identities ----------------------------------------------------------------------------------


@pytest.mark.requirement("MESH-17", "WEFT-W22")
async def test_an_identity_belongs_to_the_worker_that_proves_it(gateway: GatewayProcess) -> None:
    async with browser(gateway.url) as operator:
        async with worker_process(gateway.url, "twin") as first:
            for proof in ({}, {"agent_secret": "of another worker"}):
                false = {"agent_id": first.agent_id, **proof}
                async with worker_process(
                    gateway.url, "twin", identity=json.dumps(false)
                ) as second:
                    assert second.me["refused"] == "not_permitted"
                async with browser(gateway.url, "somebody") as stranger:
                    for method in ("agent.heartbeat", "task.claim", "agent.remove"):
                        reply = await stranger.call(method, **false)
                        assert reply["error"]["data"]["code"] == "not_permitted", method
            assert (await agent(gateway, first.agent_id))["status"] == "healthy"
            assert len(operator.all("agent_registered", agent_id=first.agent_id)) == 1
            identity = first.identity
            first.send(signal.SIGKILL)
            await operator.event(
                "agent_status_changed", agent_id=first.agent_id, status="unhealthy"
            )
        async with worker_process(gateway.url, "twin", identity=identity) as again:
            assert again.agent_id == first.agent_id
            assert (await agent(gateway, again.agent_id))["status"] == "healthy"
            listed = await gateway.get("/api/agents?handle=twin")
            assert len(listed["items"]) == 1


@pytest.mark.requirement("WEFT-05", "WS-15")
async def test_a_crowd_is_listed_and_when_it_is_killed_each_of_its_tasks_is_a_failure_that_ends(
    gateway: GatewayProcess,
) -> None:
    for count in (2, times(16, 200)):
        handle = f"crowd-{count}"
        async with (
            browser(gateway.url) as operator,
            browser(gateway.url, handle) as page,
            contextlib.AsyncExitStack() as stack,
        ):
            workers = await asyncio.gather(
                *(
                    stack.enter_async_context(worker_process(gateway.url, handle))
                    for _ in range(count)
                )
            )
            listed = await gateway.get(f"/api/agents?handle={handle}&limit=500")
            ids = {worker.agent_id for worker in workers}
            assert {item["agent_id"] for item in listed["items"]} == ids
            assert len(ids) == count
            leaving, staying, *crowd = workers
            await leaving.leave()
            gone = await operator.event(
                "agent_status_changed", agent_id=leaving.agent_id, reason="goodbye"
            )
            assert (gone["status"], gone["severity"]) == ("offline", "info")
            assert (await agent(gateway, leaving.agent_id))["status"] == "offline"

            asked = [await gateway.task(handle, "hold", user_id=handle) for _ in (staying, *crowd)]
            held = {
                worker: (await worker.said("claimed"))["task_id"] for worker in (staying, *crowd)
            }
            assert set(held.values()) == {task["task_id"] for task in asked}
            for worker in crowd:
                worker.send(signal.SIGKILL)
            lost = {held[worker] for worker in crowd}
            errors = [await page.event("agent_error", task_id=task_id) for task_id in lost]
            assert len({error["error_id"] for error in errors}) == len(lost)
            assert len(page.all("agent_error")) == len(lost)
            staying.go()
            for _ in lost:
                await staying.said("claimed")
                staying.go()
            for task_id in held.values():
                assert (await page.finished(task_id))["outcome"] == "succeeded"
            page.check(complete=True)


@pytest.mark.requirement("WEFT-14", "WEFT-13")
async def test_twenty_workers_that_register_one_handle_at_once_have_ids_of_their_own(
    gateway: GatewayProcess,
) -> None:
    answers = await asyncio.gather(
        *(gateway.http.post("/api/agents", json={"handle": "namesake"}) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["agent_id"] for answer in answers}) == 20
    assert len({answer.json()["agent_secret"] for answer in answers}) == 20
    assert len((await gateway.get("/api/agents?handle=namesake"))["items"]) == 20


@pytest.mark.requirement("WEFT-20")
async def test_five_workers_share_the_load_and_each_task_is_done_once(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    ledger, count = tmp_path / "ledger", times(50, 500)
    async with contextlib.AsyncExitStack() as stack, browser(gateway.url, "load") as page:
        workers = await asyncio.gather(
            *(
                stack.enter_async_context(worker_process(gateway.url, "load", ledger=ledger))
                for _ in range(5)
            )
        )
        tasks = {
            answer["task_id"]
            for answer in await asyncio.gather(
                *(gateway.task("load", user_id="load") for _ in range(count))
            )
        }
        await page.until(lambda _: len(page.all("task_finished")) >= count, within_s=30)
        worked = entries(ledger)
        assert sorted(task_id for task_id, _ in worked) == sorted(tasks)
        shares = Counter(agent_id for _, agent_id in worked)
        assert set(shares) == {worker.agent_id for worker in workers}
        page.check(complete=True)


@pytest.mark.requirement("MESH-W11")
async def test_a_claim_asked_for_twice_is_one_claim(gateway: GatewayProcess) -> None:
    async with browser(gateway.url, "twice") as page:
        registered = (await page.call("agent.register", handle="twice"))["result"]
        proof = {name: registered[name] for name in ("agent_id", "agent_secret")}
        task_id = (await gateway.task("twice", user_id="twice"))["task_id"]
        answers = await asyncio.gather(
            *(page.call("task.claim", **proof, task_id=task_id) for _ in range(10))
        )
        claims = {
            (a["result"]["task_id"], a["result"]["term"], a["result"]["attempt"]) for a in answers
        }
        assert claims == {(task_id, 1, 1)}
        assert (await page.call("task.complete", **proof, task_id=task_id, term=1))["result"]
        await page.finished(task_id)
        assert order_of(page, task_id) == ["task_submitted", "task_started", "task_finished"]


# --- refused -------------------------------------------------------------------------------------

# Operation, what is wrong with it, and the answer: HTTP status, text code.
REFUSED: list[tuple[str, str, Event, int, str]] = [
    ("task.claim", "/api/tasks/claim", {"agent_id": "unknown"}, 404, "not_found"),
    ("task.claim", "/api/tasks/claim", {"agent_secret": "another"}, 403, "not_permitted"),
    ("task.claim", "/api/tasks/claim", {"wait": 31}, 400, "invalid_params"),
    ("task.claim", "/api/tasks/unknown/claim", {"task_id": "unknown"}, 404, "not_found"),
    ("task.update", "/api/tasks/{}/update", {"term": 2}, 409, "stale_term"),
    ("task.update", "/api/tasks/{}/update", {"term": "1"}, 400, "invalid_params"),
    ("task.update", "/api/tasks/{}/update", {"progress": 1.5}, 400, "invalid_params"),
    ("task.update", "/api/tasks/{}/update", {"data": 1}, 400, "invalid_params"),
    ("task.update", "/api/tasks/{}/update", {"colour": "red"}, 400, "invalid_params"),
    ("task.complete", "/api/tasks/{}/complete", {"agent_secret": "another"}, 403, "not_permitted"),
    ("task.complete", "/api/tasks/{}/complete", {"term": 2}, 409, "stale_term"),
    ("task.release", "/api/tasks/{}/release", {"term": 0}, 400, "invalid_params"),
    ("task.heartbeat", "/api/tasks/{}/heartbeat", {"lease_ttl": -1}, 400, "invalid_params"),
    ("agent.heartbeat", "/api/agents/{agent}/heartbeat", {"status": "x"}, 400, "invalid_params"),
    ("agent.register", "/api/agents", {"agent_secret": "of another worker"}, 403, "not_permitted"),
]


@pytest.mark.requirement("MESH-18", "WEFT-W14")
async def test_a_wrong_request_is_refused_the_same_through_both_doors_and_changes_nothing(
    gateway: GatewayProcess,
) -> None:
    async with browser(gateway.url, "wrong") as page, browser(gateway.url, "holder") as holder:
        registered = (await holder.call("agent.register", handle="wrong"))["result"]
        proof = {name: registered[name] for name in ("agent_id", "agent_secret")}
        task_id = (await gateway.task("wrong", user_id="wrong"))["task_id"]
        claim = (await holder.call("task.claim", **proof))["result"]
        assert claim["task_id"] == task_id
        await page.event("task_started")
        before = await gateway.get(f"/api/tasks/{task_id}")
        for operation, path, wrong, status, code in REFUSED:
            about: Event = {**proof}
            if operation == "agent.register":
                about["handle"] = "wrong"
            elif operation not in ("task.claim", "agent.heartbeat"):
                about |= {"task_id": task_id, "term": 1}
            about |= wrong
            reply = await holder.call(operation, **about)
            assert reply["error"]["data"]["code"] == code, (operation, wrong, reply)
            assert isinstance(reply["error"]["code"], int)
            if "{" in path or "unknown" in path:
                about.pop("task_id", None)
            if "{agent}" in path:
                about.pop("agent_id")
            url = path.replace("{agent}", proof["agent_id"]).replace("{}", task_id)
            response = await gateway.http.post(url, json=about)
            assert response.status_code == status, (operation, wrong, response.text)
            assert response.json()["code"] == code
            assert response.json()["detail"]
        other = (await holder.call("agent.register", handle="wrong"))["result"]
        stranger = {name: other[name] for name in ("agent_id", "agent_secret")}
        for operation in ("task.update", "task.complete", "task.release"):
            reply = await holder.call(operation, **stranger, task_id=task_id, term=1)
            assert reply["error"]["data"]["code"] == "stale_term"
        after = await gateway.get(f"/api/tasks/{task_id}")
        # Calls that were refused are signs of life all the same, and renew no lease.
        assert after == before
        done = await holder.call("task.complete", **proof, task_id=task_id, term=1, result=1)
        assert done["result"]["status"] == "succeeded"
        for operation in ("task.complete", "task.release", "task.heartbeat"):
            late = await holder.call(operation, **proof, task_id=task_id, term=1)
            assert late["error"]["data"]["code"] == "stale_term"
        await page.finished(task_id)
        assert order_of(page, task_id) == ["task_submitted", "task_started", "task_finished"]
