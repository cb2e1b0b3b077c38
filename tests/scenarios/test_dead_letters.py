"""Dead letters of tasks whose workers, processes of their own, kill themselves again and again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.app.clock import SystemClock
from tests.scenarios.durable import is_ready, until
from tests.scenarios.harness import (
    ROOT,
    Browser,
    Event,
    GatewayProcess,
    browser,
    gateway_process,
    worker_process,
)

# The tests share a gateway; each has an agent of its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")

CLOCK = SystemClock()
QUICK: dict[str, Any] = {
    "heartbeat_timeout": 2,
    "offline_after": 6,
    "retry_base": 0.05,
    "rate_http": 0,
    "breaker_threshold": 1000,
    "breaker_rate": 1,
}
INPUT = {"question": "wörk", "list": [1, 2.5, None, True, {"deep": []}], "big": 2**53 - 1}
# How soon a task that is retried and fails again has to be a letter (row WEFT-21).
AGAIN_WITHIN_S = 120.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    async with gateway_process(target=None, queue_timeout=3, **QUICK) as running:
        yield running


async def letters(gateway: GatewayProcess, agent: str) -> list[Event]:
    """The letters of an agent, the newest first."""
    items: list[Event] = (await gateway.get(f"/api/dead-letters?agent={agent}"))["items"]
    return items


async def die(gateway: GatewayProcess, handle: str, ledger: Path) -> None:
    """Run one worker that claims a task and kills itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.scenarios.dying_worker", gateway.url, handle, str(ledger)),
        cwd=ROOT,
    )
    async with asyncio.timeout(30):
        assert await process.wait() == -signal.SIGKILL


async def given_up(
    gateway: GatewayProcess, page: Browser, task_id: str, handle: str, ledger: Path
) -> Event:
    """Let three workers in turn take the task and die; gives the task's end."""
    for _ in range(3):
        await die(gateway, handle, ledger)
    return await page.finished(task_id, within_s=30)


@pytest.mark.requirement(
    "WEFT-07", "WEFT-21", "WEFT-W11", "WEFT-W12", "WEFT-W13", "MESH-W7", "FLUX-W3"
)
async def test_a_task_that_kills_each_of_its_workers_is_one_letter_and_so_is_its_retry(
    gateway: GatewayProcess, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    async with browser(gateway.url, topics=["*"]) as page, browser(gateway.url, "ann") as owner:
        body = {"agent": "doomed", "input": INPUT, "user_id": "ann"}
        task = (await gateway.http.post("/api/tasks", json=body)).json()["task_id"]
        end = await given_up(gateway, page, task, "doomed", ledger)
        assert (end["outcome"], end["reason"]) == ("dead_lettered", "attempts_exhausted")

        (letter,) = await letters(gateway, "doomed")
        assert (letter["task_id"], letter["user_id"]) == (task, "ann")
        assert (letter["reason"], letter["attempts"]) == ("attempts_exhausted", 3)
        assert [error["attempt"] for error in letter["errors"]] == [1, 2, 3]
        assert {error["error_type"] for error in letter["errors"]} == {"agent_lost"}
        assert letter["input"] == INPUT
        claims = [json.loads(line) for line in ledger.read_text().splitlines()]
        assert [claim["input"] for claim in claims] == [INPUT] * 3
        assert [claim["attempt"] for claim in claims] == [1, 2, 3]
        # Its owner is told of the end; operators see the letter, the owner does not.
        assert (await owner.event("task_dead_lettered", task_id=task))["attempts"] == 3
        added = await page.event("dead_letter_changed", task_id=task, action="added")
        assert added["offset"] < end["offset"]
        assert owner.all("dead_letter_changed") == []
        refused = await owner.call("dead_letter.list")
        assert refused["error"]["data"]["code"] == "not_permitted"

        path = f"/api/dead-letters/{task}/retry"
        retries = await asyncio.gather(*(gateway.http.post(path, json={}) for _ in range(4)))
        assert {answer.status_code for answer in retries} == {200}
        (again,) = {answer.json()["task_id"] for answer in retries}
        retried = await page.event("dead_letter_changed", task_id=task, action="retried")
        submitted = await page.event("task_submitted", task_id=again)
        assert (retried["retried_as"], submitted["retry_of"]) == (again, task)
        assert submitted["causation_id"] == end["event_id"]
        began = CLOCK.monotonic()
        await given_up(gateway, page, again, "doomed", ledger)
        second, first = await letters(gateway, "doomed")
        assert CLOCK.monotonic() - began < AGAIN_WITHIN_S
        assert (second["task_id"], first["task_id"], first["retried_as"]) == (again, task, again)
        assert (second["input"], len(second["errors"])) == (INPUT, 3)
        assert len(page.all("task_submitted", retry_of=task)) == 1

        reply = await page.call("dead_letter.discard", task_id=task)
        assert reply["result"]["task_id"] == task
        await page.event("dead_letter_changed", task_id=task, action="discarded")
        gone = await gateway.http.delete(f"/api/dead-letters/{task}")
        assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
        left = (await page.call("dead_letter.list", agent="doomed"))["result"]["items"]
        assert [letter["task_id"] for letter in left] == [again]


@pytest.mark.requirement("WEFT-07", "WEFT-W11", "MESH-W7")
async def test_an_agent_that_kills_its_worker_three_times_is_one_letter(
    gateway: GatewayProcess,
) -> None:
    """The same with workers that come back by themselves."""
    async with (
        browser(gateway.url, topics=["*"]) as page,
        worker_process(gateway.url, target="tests.scenarios.worker_agents:gateway"),
    ):
        task = await gateway.task("deadly", user_id="ann")
        end = await page.finished(task["task_id"], within_s=30)
        assert end["outcome"] == "dead_lettered"
        (letter,) = await letters(gateway, "deadly")
        assert (letter["task_id"], letter["attempts"]) == (task["task_id"], 3)
        assert [error["error_code"] for error in letter["errors"]] == ["process_lost"] * 3
        assert len(page.all("dead_letter_changed", task_id=task["task_id"])) == 1


@pytest.mark.requirement("WEFT-21", "FLUX-W3")
async def test_an_operator_looks_after_letters_on_the_command_line(
    gateway: GatewayProcess,
) -> None:
    body = {"agent": "unserved", "input": INPUT, "user_id": "ann"}
    async with browser(gateway.url, topics=["*"]) as page:
        task = (await gateway.http.post("/api/tasks", json=body)).json()["task_id"]
        await page.finished(task)
        code, out, _ = await command(gateway, "list", "--agent", "unserved", "--json")
        assert (code, [json.loads(line) for line in out.splitlines()]) == (
            0,
            await letters(gateway, "unserved"),
        )
        _, out, _ = await command(gateway, "list", "--user", "ann", "--reason", "no_worker")
        assert task in out
        code, out, err = await command(gateway, "retry", task, "none")
        retried = await page.event("dead_letter_changed", task_id=task, action="retried")
        assert (code, out) == (1, f"{task} retried as {retried['retried_as']}\n")
        assert "none: there is no dead letter none" in err
        assert err.endswith("Error: 1 of 2 not retried\n")
        assert (await command(gateway, "discard", task))[:2] == (0, f"{task} discarded\n")
        assert (await command(gateway, "discard"))[0] == 2
        assert (await command(gateway, "list", "--url", "http://127.0.0.1:9"))[0] == 1


async def command(gateway: GatewayProcess, *arguments: str) -> tuple[int | None, str, str]:
    """Run ``gateway dead-letters``; gives its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "dead-letters", *arguments),
        cwd=ROOT,
        env={**os.environ, "GATEWAY_URL": gateway.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.own_store
@pytest.mark.requirement("WEFT-07", "WEFT-21")
async def test_letters_outlive_the_gateway_and_the_log_that_told_of_them(
    store: dict[str, Any], tmp_path: Path
) -> None:
    settings = {**store, **QUICK, "log_events": 100, "queue_timeout": 1}
    ledger = tmp_path / "ledger"
    async with gateway_process(target=None, **settings) as first:
        async with browser(first.url, topics=["*"]) as page:
            body = {"agent": "doomed", "input": INPUT, "max_attempts": 3, "timeout": 60}
            workers = [asyncio.create_task(die(first, "doomed", ledger)) for _ in range(3)]
            await until(lambda: registered(first, "doomed", 3))
            task = (await first.http.post("/api/tasks", json=body)).json()["task_id"]
            await asyncio.gather(*workers)
            await page.finished(task, within_s=30)
            other = (await first.http.post("/api/tasks", json={"agent": "nowhere"})).json()
            await page.finished(other["task_id"])
        before = (await first.get("/api/dead-letters"))["items"]
        assert [letter["reason"] for letter in before] == ["no_worker", "attempts_exhausted"]
        oldest = before[-1]
        # Everything that told of them is gone from the log.
        for _ in range(120):
            filler = await first.task("doomed")
            await first.http.post(f"/api/tasks/{filler['task_id']}/cancel", json={})
        kept = await first.get(f"/api/events?topic=task:{task}")
        assert kept["items"] == []
        page_of = await first.get("/api/dead-letters?limit=1")
        await first.stop(signal.SIGKILL)
    async with gateway_process(target=None, **settings) as again:
        await until(lambda: is_ready(again))
        assert (await again.get("/api/dead-letters"))["items"] == before
        rest = await again.get(f"/api/dead-letters?limit=1&cursor={page_of['next']}")
        assert rest["items"] == [oldest]
        made = await again.http.post(f"/api/dead-letters/{task}/retry", json={})
        assert made.status_code == 200, made.text
        shown = await again.get(f"/api/tasks/{made.json()['task_id']}")
        assert shown["retry_of"] == task
        gone = await again.http.delete(f"/api/dead-letters/{other['task_id']}")
        assert gone.status_code == 200, gone.text
        (left,) = (await again.get("/api/dead-letters?reason=attempts_exhausted"))["items"]
        assert left == {**oldest, "retried_as": made.json()["task_id"]}
        await again.stop(signal.SIGKILL)
    async with gateway_process(target=None, **settings) as third:
        await until(lambda: is_ready(third))
        found = {letter["task_id"]: letter for letter in await letters(third, "doomed")}
        assert found[task] == left


async def registered(gateway: GatewayProcess, handle: str, number: int) -> bool:
    """Whether so many workers of a handle are there."""
    return len((await gateway.get(f"/api/agents?handle={handle}"))["items"]) == number
