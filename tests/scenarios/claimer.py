"""
A process of workers that claim at two nodes at random, and a record of all that they were told.

    python -m tests.scenarios.claimer URL_A URL_B --crew 4 --seed 7 --history FILE

Each worker registers once, takes tasks at one node, and renews, gives back, holds too long or
completes at whichever node chance says; now and then two of them want the same task at both nodes
at once. It goes on until stdin closes; then what is held is finished, and the process ends.

Each call is two lines of JSON in FILE, joined by ``process`` and ``number``: one before it is
sent, and one when its outcome is known, so that of a process that was killed it is known what it
had asked for. Outcomes: ``ok``; ``refused``, with the code, when it had no effect (4xx, and a
claim for which there was no task); ``unknown`` when it may have had one (no answer, 5xx).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import sys
from typing import Any

import httpx2

from gateway.app.clock import SystemClock

HANDLE = "crew"
ANSWER_LIMIT_S = 3.0
# Before asking again where there was no task, or no node.
PAUSE_S = 0.03
# How often a worker wants a certain task, at once with another worker.
CONTEST_SHARE = 0.35

# What is done with a task, and how often.
WAYS = {
    "complete": 35,
    "renew": 10,
    "ask_again": 10,
    "release": 10,
    "complete_twice": 5,
    "renew_at_the_last_moment": 10,
    "hold_too_long": 20,
}

CLOCK = SystemClock()

Answer = dict[str, Any]


class History:
    """The recording; lines of several processes in one file do not mix."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._numbers = itertools.count(1)

    def invoked(self, **fields: Any) -> int:
        """Tell that a call begins; gives its number."""
        number = next(self._numbers)
        self._write(number, {**fields, "invoked_at": CLOCK.monotonic()})
        return number

    def answered(self, number: int, **fields: Any) -> None:
        """Tell what came of it."""
        self._write(number, {**fields, "answered_at": CLOCK.monotonic()})

    def _write(self, number: int, fields: Answer) -> None:
        line = json.dumps({"process": os.getpid(), "number": number, **fields})
        # One write at the end of the file each: a process that is killed leaves whole lines.
        os.write(self._file, f"{line}\n".encode())


class Worker:
    """
    One of the crew.

    Args:
        nodes: The two nodes.
        lease_s: Length of every lease that it asks for.
    """

    def __init__(
        self,
        nodes: list[httpx2.AsyncClient],
        history: History,
        chance: random.Random,
        *,
        lease_s: float,
    ) -> None:
        self._nodes = nodes
        self._history = history
        self._chance = chance
        self._lease_s = lease_s
        self._agent_id = ""
        self._headers: dict[str, str] = {}

    async def register(self) -> None:
        """Ask one node after the other until one has taken it."""
        for node in itertools.cycle(self._nodes):
            try:
                answer = await node.post("/api/agents", json={"handle": HANDLE})
            except httpx2.HTTPError:
                answer = None
            if answer is not None and answer.status_code == 201:
                self._agent_id = answer.json()["agent_id"]
                self._headers = {"Agent-Secret": answer.json()["agent_secret"]}
                return
            await CLOCK.sleep(PAUSE_S)

    async def work(self, crew: list[Worker], over: asyncio.Event) -> None:
        """Take one task after another until it is over."""
        while not over.is_set():
            contested = await self._pending() if self._chance.random() < CONTEST_SHARE else None
            if contested is None:
                claims = [(self, await self.claim(self._anywhere()))]
            else:
                rival = self._chance.choice([worker for worker in crew if worker is not self])
                node = self._anywhere()
                mine, other = await asyncio.gather(
                    self.claim(node, contested), rival.claim(1 - node, contested)
                )
                claims = [(self, mine), (rival, other)]
            await asyncio.gather(*(worker.treat(claim) for worker, claim in claims if claim))
            if not any(claim for _, claim in claims):
                await CLOCK.sleep(PAUSE_S)

    async def claim(self, node: int, task_id: str | None = None) -> Answer | None:
        """Take the next task or a certain one; None: it got none, or was not told."""
        wait = {} if task_id else {"wait": self._chance.uniform(0.3, 0.8)}
        _, claim = await self._call(node, "claim", task_id, lease_ttl=self._lease_s, **wait)
        return claim

    async def treat(self, claim: Answer) -> None:
        """Do with a task that it holds what chance says; in the end it lets go of it."""
        task_id, term = claim["task_id"], claim["term"]
        node, lease_s = self._anywhere(), self._lease_s
        (way,) = self._chance.choices(list(WAYS), list(WAYS.values()))
        match way:
            case "release":
                await self._call(node, "release", task_id, term=term)
                return
            case "renew":
                await self._renew(node, task_id, term)
            case "ask_again":
                await self.claim(node, task_id)
            case "complete_twice":
                await asyncio.gather(*(self._complete(each, task_id, term) for each in (0, 1)))
                return
            case "renew_at_the_last_moment":
                await CLOCK.sleep(lease_s * self._chance.uniform(0.97, 1.0))
                await self._renew(node, task_id, term)
                await CLOCK.sleep(lease_s / 2)
            case "hold_too_long":
                await CLOCK.sleep(lease_s * self._chance.uniform(1.0, 2.0))
        await CLOCK.sleep(self._chance.uniform(0, 0.05))
        await self._complete(self._anywhere(), task_id, term)

    async def _renew(self, node: int, task_id: str, term: int) -> None:
        # With a length, since only then it is an append whatever is left of the lease.
        await self._call(node, "heartbeat", task_id, term=term, lease_ttl=self._lease_s)

    async def _complete(self, node: int, task_id: str, term: int) -> None:
        """Hand in its result, once more at the other node where there was no clear answer."""
        result = {"agent_id": self._agent_id, "term": term}
        for each in (node, 1 - node):
            outcome, _ = await self._call(each, "complete", task_id, term=term, result=result)
            if outcome != "unknown":
                return

    async def _pending(self) -> str | None:
        """A task without a holder, as far as a node knows."""
        query = {"agent": HANDLE, "status": "pending", "limit": "20"}
        try:
            answer = await self._nodes[self._anywhere()].get("/api/tasks", params=query)
        except httpx2.HTTPError:
            return None
        items = answer.json()["items"] if answer.status_code == 200 else []
        return self._chance.choice(items)["task_id"] if items else None

    async def _call(
        self, node: int, operation: str, task_id: str | None, **params: Any
    ) -> tuple[str, Answer | None]:
        """Make a call and record it; gives the outcome, and the answer if it is ok."""
        about = {"task_id": task_id, "term": params.get("term")}
        number = self._history.invoked(
            agent_id=self._agent_id,
            node=str(self._nodes[node].base_url),
            operation=operation,
            lease_s=params.get("lease_ttl"),
            **about,
        )
        path = f"/api/tasks/{task_id}/{operation}" if task_id else f"/api/tasks/{operation}"
        body = {"agent_id": self._agent_id, **params}
        answer: Answer | None = None
        try:
            response = await self._nodes[node].post(path, json=body, headers=self._headers)
        except httpx2.HTTPError as error:
            outcome, code = "unknown", type(error).__name__
        else:
            told = response.json() if response.content else {"code": "no_task"}
            outcome, code = "refused", told.get("code", "")
            if response.status_code >= 500:
                outcome = "unknown"
            elif response.status_code == 200:
                outcome, answer = "ok", told
                about |= {name: told[name] for name in about if operation == "claim"}
        self._history.answered(number, outcome=outcome, code=code, **about)
        return outcome, answer

    def _anywhere(self) -> int:
        return self._chance.randrange(2)


async def closed_stdin() -> None:
    """Wait until stdin is closed."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("urls", nargs=2)
    parser.add_argument("--crew", type=int, default=4)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--history", required=True)
    parser.add_argument("--lease", type=float, default=0.5)
    options = parser.parse_args()
    history, over = History(options.history), asyncio.Event()
    nodes = [httpx2.AsyncClient(base_url=url, timeout=ANSWER_LIMIT_S) for url in options.urls]
    crew = [
        Worker(nodes, history, random.Random(f"{options.seed} {number}"), lease_s=options.lease)
        for number in range(options.crew)
    ]
    await asyncio.gather(*(worker.register() for worker in crew))
    async with asyncio.TaskGroup() as working:
        for worker in crew:
            working.create_task(worker.work(crew, over))
        await closed_stdin()
        over.set()
    for node in nodes:
        await node.aclose()


if __name__ == "__main__":
    asyncio.run(main())
