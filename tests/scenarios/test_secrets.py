"""
Secrets in what fails: no door of a real gateway gives one away.

Failures (five hundred in `make soak`), each with a secret of the samples in it, in the gateway's
own process, in a worker's, in the reports of workers that speak the wire, and in reports that are
refused. Then everything that anybody was told is searched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any

import httpx2
import orjson
import pytest

from tests.domain.secret_samples import SECRETS
from tests.scenarios.doors import Door, HttpDoor, SocketDoor, ToolDoor, tools_of
from tests.scenarios.harness import (
    ROOT,
    WAIT_S,
    GatewayProcess,
    browser,
    gateway_process,
    worker_process,
)
from tests.scenarios.leaky_agents import AGENTS, text_of
from tests.soak import times
from tests.transports.world import until

OWN, AWAY, REPORTED, PUBLISHED = (times(full // 4, full) for full in (200, 120, 100, 80))

MARK = re.compile(rb"\[redacted:[a-z-]{1,16}\]")
# So many letters of a secret in a row are a leak; fewer, and mere words, may be there by chance.
LETTERS = 10
_RUNS = {
    secret.encode()[at : at + LETTERS]
    for _, _, secret in SECRETS
    for at in range(len(secret.encode()) - LETTERS + 1)
}
PARTS = {run for run in _RUNS if re.search(rb"[0-9A-Z]", run)}


def leaks(said: bytes) -> set[bytes]:
    """Every part of a secret that is in what was said."""
    bare = MARK.sub(b"\0", said)
    # Every second place: of a run that is longer by one, one part is at such a place.
    return PARTS.intersection(bare[at : at + LETTERS] for at in range(0, len(bare), 2))


def test_a_leak_would_be_found() -> None:
    found = [leaks(text.encode()) != set() for _, text, _ in SECRETS]
    assert sum(found) > 0.9 * len(SECRETS)
    assert leaks(b"the key [redacted:api-key] of [redacted:secret] is refused") == set()


@contextlib.asynccontextmanager
async def tailing(gateway: GatewayProcess, out: IO[bytes]) -> AsyncIterator[None]:
    """``gateway tail --detail``, by an operator, from the beginning."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "tail", "--detail", "--since", "start"),
        *("--url", gateway.url.replace("http", "ws", 1) + "/ws"),
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        stdout=out,
        stderr=out,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def streamed(gateway: GatewayProcess, head: int) -> bytes:
    """Everything up to that offset, as server-sent events."""
    got = b""
    async with (
        httpx2.AsyncClient(base_url=gateway.url, timeout=WAIT_S) as http,
        http.stream("GET", "/api/events/stream?topic=*&since=start") as response,
    ):
        async for part in response.aiter_bytes():
            got += part
            if b":%d\n" % head in got:
                return got
    raise AssertionError("the stream ended")


async def report(doors: list[Door], answers: list[Any]) -> None:
    """Be a worker that tells its failures by every door."""
    names = [{"name": f"bare-{number}"} for number in range(AGENTS)]
    _, worker = await doors[0].call("agent.register", handle="bare", agents=names)
    proof = {name: worker[name] for name in ("agent_id", "agent_secret")}
    for number in range(REPORTED):
        door, text = doors[number % len(doors)], text_of(number)
        created = await door.call(
            "task.create", agent=f"bare-{number % AGENTS}", input={"number": number}
        )
        _, claim = await door.call("task.claim", wait=WAIT_S, **proof)
        held = {"task_id": claim["task_id"], "term": claim["term"], **proof}
        # One that is refused first: what it says is repeated, and goes to operators.
        refused = await door.call("task.fail", **held, message={text: text})
        failed = await door.call(
            "task.fail",
            **held,
            message=text,
            error_type="invalid_input",
            detail={
                "said": text,
                "headers": [["authorization", f"Bearer {text}"], ["cookie", f"a={text}"]],
                "argv": ["tool", "--password", text],
                "environment": [{"name": "API_TOKEN", "value": text}],
                text: {"deep": [text.encode().decode("latin-1")]},
            },
        )
        assert refused[0] is not None
        assert (created[0], failed[0]) == (None, None), (created, failed)
        answers += (created, refused, failed)


async def publish(doors: list[Door], answers: list[Any]) -> None:
    """Be a backend that reports, rightly and wrongly, by every door."""
    about = {"type": "agent_error", "user_id": "ann", "agent_name": "backend"}
    for number in range(PUBLISHED):
        door, text = doors[number % len(doors)], text_of(3 * number)
        wrongs: list[dict[str, Any]] = [
            {"error_type": text},
            {text: 1},
            {"details": {"said": text}},
            {"is_recoverable": text, "message": text},
        ]
        wrong = wrongs[number % len(wrongs)]
        right = {"message": text, "user_message": text, "detail": {"said": text}}
        answers.append(await door.call("event.publish", **about, **right))
        answers.append(await door.call("event.publish", **about, **wrong))
        assert answers[-1][0] is not None
        answers.append(await door.call("event.publish", type=text))
        answers.append(await door.call("task.get", task_id=text))


async def ask(doors: list[Door], answers: list[Any]) -> None:
    """Ask agents that raise, here and in a worker."""
    for number in range(OWN + AWAY):
        kind = "leaky" if number < OWN else "away"
        answer = await doors[number % len(doors)].call(
            "task.create",
            agent=f"{kind}-{number % AGENTS}",
            input={"number": number},
            user_id="ann",
        )
        assert answer[0] is None, answer
        answers.append(answer)


@pytest.mark.own_store  # which has no part in it
async def test_many_failures_with_secrets_give_none_away_by_any_door(
    tmp_path: Path,
) -> None:
    answers: list[Any] = []
    files = {name: (tmp_path / name).open("w+b") for name in ("gateway", "worker", "tail")}
    async with (
        gateway_process(
            target="tests.scenarios.leaky_agents:gateway", said=files["gateway"], rate_http=0
        ) as gateway,
        browser(gateway.url, topics=["*"], since="start") as operator,
        browser(gateway.url, "ann") as ann,
        browser(gateway.url, topics=[]) as caller,
        tools_of(gateway) as tools,
        tailing(gateway, files["tail"]),
        worker_process(
            gateway.url, target="tests.scenarios.leaky_agents:worker", said=files["worker"]
        ),
    ):
        # A tool takes ten times as long.
        quick: list[Door] = [HttpDoor(gateway.http), SocketDoor(caller)]
        doors = [*quick * 4, ToolDoor(tools)]
        await asyncio.gather(ask(doors, answers), report(doors, answers), publish(doors, answers))
        ended = OWN + AWAY + REPORTED
        await operator.until(lambda _: len(operator.all("task_finished")) == ended, within_s=30)
        head = (await gateway.get("/ready"))["position"]["offset"]
        await operator.until(lambda _: max(operator.at) >= head)
        for operation in ("task.list", "dead_letter.list", "agent.list", "event.list"):
            answers += [await door.call(operation, limit=500) for door in doors[:2]]
        stream = await streamed(gateway, head)
        await until(lambda: f" {head:>6} ".encode() in (tmp_path / "tail").read_bytes())
    said = {
        "operators": b"\n".join(frame for _, frame in operator.frames),
        "a user": b"\n".join(frame for _, frame in ann.frames),
        "server-sent events": stream,
        "answers and refusals": orjson.dumps(answers),
        **{name: (tmp_path / name).read_bytes() for name in files},
    }
    for file in files.values():
        file.close()
    assert {name: found for name, text in said.items() if (found := leaks(text))} == {}
    # They were there: each failure leaves marks with operators, and hooks in the logs.
    marks = {name: len(MARK.findall(text)) for name, text in said.items()}
    least = OWN + AWAY + REPORTED + 2 * PUBLISHED
    assert min(marks[name] for name in ("operators", "server-sent events", "tail")) >= least, marks
    assert marks["gateway"] >= OWN
    assert marks["worker"] >= AWAY
