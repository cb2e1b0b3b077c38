"""
Users as they are: each has a WebSocket, and asks for a task now and then.

    python -m tests.scenarios.normal_users URL COUNT PACE_S

It says ``ready`` when all have connected, and measures from ``task.create`` to ``task_finished``.
Each line that it reads is a time in seconds: for so long the users ask, then it prints as a line of
JSON how long each task took and what went wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect

from gateway.app.clock import SystemClock
from tests.transports.world import token

CLOCK = SystemClock()
# A task that takes longer than this is a failure of its own.
WAIT_S = 30.0


class User:
    """One user, one WebSocket."""

    def __init__(self, socket: ClientConnection, user_id: str) -> None:
        self._socket = socket
        self._user_id = user_id
        self._asked = 0
        self.took_ms: list[float] = []
        self.wrong: list[str] = []

    async def ask(self, method: str, **params: Any) -> Any:
        """Send a request, and give the result; what comes before it is of no interest."""
        self._asked += 1
        asked = {"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params}
        await self._socket.send(orjson.dumps(asked).decode())
        while (frame := orjson.loads(await self._socket.recv())).get("id") != self._asked:
            pass
        if "error" in frame:
            raise RuntimeError(frame["error"])
        return frame["result"]

    async def begin(self) -> None:
        """Sign in and subscribe."""
        scope = "events:read tasks:write"
        await self.ask("connect", token=token(self._user_id, scope))
        await self.ask("subscribe", topics=[f"user:{self._user_id}"])

    async def go_on(self, for_s: float, pace_s: float) -> None:
        """Ask for a task, again and again, at a pace of so many seconds as a mean."""
        until = CLOCK.monotonic() + for_s
        await CLOCK.sleep(random.uniform(0, min(pace_s, for_s)))
        while CLOCK.monotonic() < until:
            began = CLOCK.monotonic()
            try:
                async with asyncio.timeout(WAIT_S):
                    await self._one(began)
            except Exception as error:  # noqa: BLE001 - told
                self.wrong.append(f"{self._user_id}: {error!r}")
                return
            # At the same step each time, those that once met would ask together for ever.
            rest_s = pace_s * random.uniform(0.5, 1.5) - (CLOCK.monotonic() - began)
            await CLOCK.sleep(max(0.0, min(rest_s, until - CLOCK.monotonic())))

    async def _one(self, began: float) -> None:
        task_id = (await self.ask("task.create", agent="quick", input={}, correlation_id="normal"))[
            "task_id"
        ]
        while True:
            frame = orjson.loads(await self._socket.recv())
            if frame.get("type") == "task_finished" and frame["task_id"] == task_id:
                break
        self.took_ms.append((CLOCK.monotonic() - began) * 1000)
        if frame["outcome"] != "succeeded":
            self.wrong.append(f"{self._user_id}: {frame}")


async def run(url: str, count: int, pace_s: float) -> None:
    """Connect all users; then let them ask whenever a line says for how long."""
    address = url.replace("http", "ws", 1) + "/ws"
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        users = []
        for number in range(count):
            socket = await stack.enter_async_context(
                connect(address, compression=None, ping_interval=None, proxy=None)
            )
            users.append(User(socket, f"user-{number}"))
            await users[-1].begin()
        print("ready", flush=True)  # noqa: T201
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            for user in users:
                user.took_ms, user.wrong = [], []
            await asyncio.gather(*(user.go_on(float(line), pace_s) for user in users))
            told = {
                "took_ms": [took_ms for user in users for took_ms in user.took_ms],
                "wrong": [wrong for user in users for wrong in user.wrong],
            }
            print(orjson.dumps(told).decode(), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
