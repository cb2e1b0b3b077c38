"""
A worker with nothing of ours in it: a process that speaks the wire and can be killed and stopped.

    python -m tests.scenarios.bare_worker http://127.0.0.1:PORT writer --door ws --ledger FILE

It registers, beats, and claims. A task's question says how to treat it: ``hold`` keeps it until a
line comes on stdin, ``keep`` takes one and then neither beats nor renews for it, ``pile`` is taken
and let lie until a line comes, and answered at once from then on, as anything else is. Each task
that is worked on is a line in the ledger; each thing that happened to the worker is a JSON line on
stdout. A line on stdin lets go of what is held; at its end the worker says goodbye.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from typing import Any, Protocol

Answer = dict[str, Any]

PATHS = {
    "agent.register": ("POST", "/api/agents"),
    "agent.heartbeat": ("POST", "/api/agents/{agent_id}/heartbeat"),
    "agent.remove": ("DELETE", "/api/agents/{agent_id}"),
    "task.claim": ("POST", "/api/tasks/claim"),
    "task.heartbeat": ("POST", "/api/tasks/{task_id}/heartbeat"),
    "task.complete": ("POST", "/api/tasks/{task_id}/complete"),
}


class Door(Protocol):
    """A way in: gives the result, None for no content, or ``{"refused": code}``."""

    async def call(self, method: str, **params: Any) -> Answer | None: ...


class Http:
    """One request per call."""

    def __init__(self, url: str) -> None:
        import httpx2  # not paid for by workers on a socket

        self._http = httpx2.AsyncClient(base_url=url, timeout=60)

    async def call(self, method: str, **params: Any) -> Answer | None:
        verb, path = PATHS[method]
        for name in ("agent_id", "task_id"):
            if f"{{{name}}}" in path:
                path = path.replace(f"{{{name}}}", params.pop(name))
        secret = params.pop("agent_secret", None)
        headers = {"Agent-Secret": secret} if secret else {}
        body = None if verb == "DELETE" else params
        response = await self._http.request(verb, path, json=body, headers=headers)
        if response.status_code == 204:
            return None
        answer: Answer = response.json()
        if response.status_code >= 400:
            return {"refused": answer["code"], "status": response.status_code}
        return answer


class Socket:
    """One connection, many calls at a time."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._replies: dict[int, asyncio.Future[Answer]] = {}
        self._next = 0
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, url: str, user_id: str) -> Socket:
        from websockets.asyncio.client import connect
        from websockets.typing import Subprotocol

        address = url.replace("http", "ws", 1) + "/ws"
        door = cls(await connect(address, subprotocols=[Subprotocol("agent-events.v1")]))
        # A user, and so no operator: it has to prove its identity.
        await door.call("connect", user_id=user_id)
        return door

    async def _read(self) -> None:
        async for text in self._socket:
            frame = json.loads(text)
            reply = self._replies.pop(frame.get("id"), None)
            if reply is not None and not reply.done():
                reply.set_result(frame)

    async def call(self, method: str, **params: Any) -> Answer | None:
        self._next += 1
        number = self._next
        self._replies[number] = reply = asyncio.get_running_loop().create_future()
        frame = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        await self._socket.send(json.dumps(frame))
        answer = await reply
        if "error" in answer:
            return {"refused": answer["error"]["data"]["code"]}
        result: Answer | None = answer["result"]
        return result


class BareWorker:
    """What the process does."""

    def __init__(self, door: Door, options: argparse.Namespace) -> None:
        self._door = door
        self._options = options
        self._me: Answer = {}
        self._held: Answer | None = None
        self._leaving = False
        self._go = asyncio.Event()
        self._pile: list[Answer] | None = []

    async def run(self) -> None:
        options = self._options
        known = json.loads(options.identity) if options.identity else {}
        registered = await self._door.call(
            "agent.register",
            handle=options.handle,
            agents=[{"name": options.handle, "timeout": options.limit, "max_attempts": 3}],
            domain=options.domain,
            **known,
        )
        assert registered is not None
        say("registered", **registered)
        if "refused" in registered:
            return
        self._me = {name: registered[name] for name in ("agent_id", "agent_secret")}
        jobs = [
            asyncio.create_task(self._beat(registered["heartbeat_interval"])),
            asyncio.create_task(self._work()),
        ]
        await self._listen()
        for job in jobs:
            job.cancel()
        say("removed", **(await self._door.call("agent.remove", **self._me) or {}))

    async def _listen(self) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while await reader.readline():
            self._go.set()
            pile, self._pile = self._pile or [], None
            for claim in pile:
                await self._complete(claim)

    async def _beat(self, interval_s: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._held is not None and self._held["input"]["question"] != "keep":
                term = {name: self._held[name] for name in ("task_id", "term")}
                await self._door.call("task.heartbeat", **self._me, **term)
            await self._door.call("agent.heartbeat", **self._me)
            due = asyncio.Event()
            loop.call_later(interval_s, due.set)
            await due.wait()

    async def _work(self) -> None:
        ttl = {"lease_ttl": self._options.lease_ttl} if self._options.lease_ttl else {}
        while True:
            claim = await self._door.call("task.claim", **self._me, **ttl, wait=10)
            if claim is None:
                continue
            say("claimed", **claim)
            self._note(claim["task_id"])
            if claim["input"]["question"] == "pile" and self._pile is not None:
                self._pile.append(claim)
                continue
            self._held = claim
            if claim["input"]["question"] in ("hold", "keep"):
                await self._go.wait()
                self._go.clear()
            self._held = None
            await self._complete(claim)

    async def _complete(self, claim: Answer) -> None:
        answer = await self._door.call(
            "task.complete",
            **self._me,
            task_id=claim["task_id"],
            term=claim["term"],
            result=self._me["agent_id"],
        )
        say("completed", task_id=claim["task_id"], refused=(answer or {}).get("refused"))

    def _note(self, task_id: str) -> None:
        if self._options.ledger:
            # One write at the end of the file: lines of several processes do not mix.
            ledger = os.open(self._options.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(ledger, f"{task_id} {self._me['agent_id']}\n".encode())
            os.close(ledger)


def say(what: str, **fields: Any) -> None:
    """Tell the test."""
    sys.stdout.write(json.dumps({"what": what, **fields}) + "\n")
    sys.stdout.flush()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("handle")
    parser.add_argument("--door", choices=["ws", "http"], default="ws")
    parser.add_argument("--domain")
    parser.add_argument("--identity", default="")
    parser.add_argument("--ledger", default="")
    parser.add_argument("--lease-ttl", type=float, default=0)
    parser.add_argument("--limit", type=float, default=30)
    options = parser.parse_args()
    door: Door = (
        await Socket.open(options.url, options.handle)
        if options.door == "ws"
        else Http(options.url)
    )
    await BareWorker(door, options).run()


if __name__ == "__main__":
    asyncio.run(main())
