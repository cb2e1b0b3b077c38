"""
Clients that mean harm, of several kinds at once, each at full speed.

    python -m tests.scenarios.hostile_clients URL KIND...

They go on until its input ends; then it prints how often each kind was answered with what, as a
line of JSON. Each kind is a user of its own; the floods are one. They leave the processor to others
that want it: it is the gateway that is tried, not the machine.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import itertools
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import orjson

from gateway.app.clock import SystemClock
from gateway.protocol.operations import OPERATIONS, Operation
from tests.transports.doors import url_of
from tests.transports.raw_client import frame
from tests.transports.world import token

__all__ = ["KINDS"]

CLOCK = SystemClock()
SCOPE = "events:read events:write tasks:write"
# What a client that reads nothing takes all the same.
DEAF_BYTES = 4096
BODY_BYTES = 2**20 - 1024
# Connections of a kind that ask at full speed, and of one that only holds them.
ASKING, HOLDING = 4, 50

UPGRADE = (
    "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Client:
    """
    One connection.

    Args:
        agent: Whether its token is one for workers.

    Attributes:
        answers: How often what was answered, by all connections of this kind.
    """

    def __init__(
        self, host: str, user_id: str, answers: collections.Counter[str], *, agent: bool
    ) -> None:
        self._host = host
        self.user_id = user_id
        self.answers = answers
        self.token = token(user_id, f"{SCOPE} agent" if agent else SCOPE)
        self._ids = itertools.count(1)

    @contextlib.asynccontextmanager
    async def opened(self, *, takes_bytes: int = 2**22) -> AsyncIterator[None]:
        """Connect, and say nothing; so many bytes of answers are taken before one is read."""
        host, _, port = self._host.rpartition(":")
        peer = socket.create_connection((host, int(port)))
        if takes_bytes < 2**16:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, takes_bytes)
        self._reader, self._writer = await asyncio.open_connection(sock=peer, limit=takes_bytes)
        try:
            yield
        finally:
            self._writer.transport.abort()

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def ended(self) -> None:
        """Read until the gateway closes."""
        while await self._reader.read(2**16):
            pass

    # --- HTTP -----------------------------------------------------------------------------

    def request(self, method: str, path: str, body: bytes = b"", bearer: str = "") -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Authorization: Bearer {bearer or self.token}\r\n"
            "Accept: application/json, text/event-stream\r\n"
        )
        if method != "GET":
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return head.encode() + b"\r\n" + body

    async def http(self, method: str, path: str, body: bytes = b"", bearer: str = "") -> Any:
        """Ask, and give the JSON of the answer."""
        await self.send(self.request(method, path, body, bearer))
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        answer = await self._reader.readexactly(size)
        self.answers[head.split()[1]] += 1
        if "connection: close" in head:
            raise ConnectionError("the gateway ends the connection")
        return orjson.loads(answer) if answer else None

    # --- WebSocket ------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def web_socket(
        self, *, sign_in: bool = True, takes_bytes: int = 2**22
    ) -> AsyncIterator[None]:
        """Open a WebSocket."""
        async with self.opened(takes_bytes=takes_bytes):
            await self.send(UPGRADE.format(host=self._host).encode())
            head = await self._reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101"):
                self.answers[head.split()[1].decode()] += 1
                raise ConnectionError(head)
            if sign_in:
                await self.call("connect", token=self.token)
            yield

    async def call(self, method: str, **params: Any) -> Any:
        """Call a method and give its reply."""
        number = next(self._ids)
        await self.send(frame({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
        while (found := await self.next()).get("id") != number:
            pass
        return found

    async def next(self) -> Any:
        """Give the next frame."""
        first, size = await self._reader.readexactly(2)
        if size >= 126:
            size = int.from_bytes(await self._reader.readexactly(2 if size == 126 else 8), "big")
        payload = await self._reader.readexactly(size)
        if first & 0x0F == 8:
            self.answers[f"closed {int.from_bytes(payload[:2], 'big')}"] += 1
            raise ConnectionError("closed")
        if first & 0x0F != 1:
            return {}
        found = orjson.loads(payload)
        if "error" in found:
            self.answers[f"error {found['error']['code']}"] += 1
        elif "result" in found:
            self.answers["result"] += 1
        return found


Kind = Callable[[Client], Awaitable[None]]

# --- wrong frames and bodies ------------------------------------------------------------------

WRONG = (
    b"{",
    b"null",
    b"[]",
    b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}',
    b'{"jsonrpc":"2.0","id":1,"method":"no.such"}',
    b'{"jsonrpc":"2.0","id":1,"method":"task.create","params":{"agent":7}}',
    b'{"jsonrpc":"2.0","id":1,"method":"task.get","params":{"task_id":"\\ud800"}}',
    b'{"a":1,"a":2}',
    b"1e999",
)


async def wrong_frames(client: Client) -> None:
    async with client.web_socket():
        while True:
            for wrong in WRONG:
                await client.send(frame(wrong))
                await client.next()


async def wrong_bodies(client: Client) -> None:
    async with client.opened():
        while True:
            for wrong in WRONG:
                await client.http("POST", "/api/tasks", wrong)


async def garbage(client: Client) -> None:
    async with client.opened():
        await client.send(os.urandom(4096))
        await client.ended()


@functools.cache
def _bodies() -> tuple[bytes, ...]:
    """As large as a body may be: long, wide, deep, of numbers, and escaped."""
    return tuple(_made_bodies())


def _made_bodies() -> Iterator[bytes]:
    yield b'{"agent":"quick","input":{"x":"' + b"x" * BODY_BYTES + b'"}}'
    yield orjson.dumps({f"{number}": number for number in range(BODY_BYTES // 16)})
    yield b'{"agent":"quick","input":' + b"[" * (BODY_BYTES // 2)
    yield b'{"agent":"quick","input":[' + b"1e9," * (BODY_BYTES // 4) + b"1]}"
    yield b'{"agent":"quick","input":{"x":"' + b"\\u0041" * (BODY_BYTES // 6) + b'"}}'


async def giant_bodies(client: Client) -> None:
    async with client.opened():
        while True:
            for body in _bodies():
                await client.http("POST", "/api/tasks", body)


@functools.cache
def _frames() -> tuple[bytes, ...]:
    around = b'{"jsonrpc":"2.0","id":1,"method":"task.create","params":%b}'
    return tuple(frame(around % body) for body in _bodies())


async def giant_frames(client: Client) -> None:
    async with client.web_socket():
        while True:
            for body in _frames():
                await client.send(body)
                await client.next()


# --- requests that do not come to an end, or are not read --------------------------------------


async def half_heads(client: Client) -> None:
    async with client.opened():
        await client.send(b"GET /api/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
        await client.ended()


async def half_bodies(client: Client) -> None:
    async with client.opened():
        body = client.request("POST", "/api/tasks", b"x" * BODY_BYTES)
        for at in range(len(body)):
            await client.send(body[at : at + 1] if at >= 400 else b"" if at else body[:400])
            if at >= 400:
                await CLOCK.sleep(0.05)


async def deaf(client: Client) -> None:
    """Asks for long lists and reads none of them."""
    async with client.opened(takes_bytes=DEAF_BYTES):
        asked = client.request("GET", f"/api/events?topic=user:{client.user_id}&limit=500")
        while True:
            await client.send(asked * 50)
            await CLOCK.sleep(0.01)


async def deaf_sockets(client: Client) -> None:
    async with client.web_socket(takes_bytes=DEAF_BYTES):
        params = {"topic": f"user:{client.user_id}", "limit": 500}
        asked = {"jsonrpc": "2.0", "id": 1, "method": "event.list", "params": params}
        while True:
            await client.send(frame(asked) * 50)
            await CLOCK.sleep(0.01)


# --- who they are -----------------------------------------------------------------------------


async def strangers(client: Client) -> None:
    async with client.opened():
        while True:
            await client.http("GET", "/api/tasks", bearer=client.token[:-4] + "AAAA")


async def strange_sockets(client: Client) -> None:
    async with client.web_socket(sign_in=False):
        while True:
            await client.call("connect", token=client.token[:-4] + "AAAA")


async def silent_sockets(client: Client) -> None:
    async with client.web_socket(sign_in=False):
        await client.ended()


async def early_frames(client: Client) -> None:
    async with client.web_socket(sign_in=False):
        while True:
            await client.call("ping")


# --- what they ask for ------------------------------------------------------------------------


def _params(client: Client, operation: Operation, number: int) -> dict[str, Any]:
    some = {
        "task_id": "t",
        "agent_id": "a",
        "lock_id": "l",
        "user_id": client.user_id,
        "agent": "quick",
        "type": "notification",
        "handle": client.user_id,
        "holder": client.user_id,
        "resource_key": f"r{number % 100}",
        "message": "m",
        "mode": "normal",
        "name": "quick",
        "term": 1,
    }
    properties = operation.params["properties"]
    wanted = {*operation.params.get("required", ()), *operation.one_of[:1]}
    params = {name: some[name] for name in wanted if name in some and name in properties}
    if operation.name == "event.publish":
        params |= {"recipient_id": client.user_id, "subject": "s", "payload": {}}
    return params


async def flood(client: Client) -> None:
    """Every operation, over HTTP."""
    async with client.opened():
        for number in itertools.count():
            for operation in OPERATIONS.values():
                params = _params(client, operation, number)
                path = url_of(operation, params)
                rest = {n: v for n, v in params.items() if f"{{{n}}}" not in operation.path}
                if operation.method == "DELETE" and rest:
                    path += "?" + "&".join(f"{name}={value}" for name, value in rest.items())
                body = b"" if operation.method in ("GET", "DELETE") else orjson.dumps(rest)
                await client.http(operation.method, path, body)


async def flood_of_frames(client: Client) -> None:
    """Every operation, over a WebSocket."""
    async with client.web_socket():
        for number in itertools.count():
            for operation in OPERATIONS.values():
                await client.call(operation.name, **_params(client, operation, number))


async def flood_of_tools(client: Client) -> None:
    """Every tool, over MCP."""
    async with client.opened():
        for number in itertools.count():
            for operation in OPERATIONS.values():
                if operation.tool:
                    call = {"name": operation.name, "arguments": _params(client, operation, number)}
                    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
                    await client.http("POST", "/mcp", orjson.dumps(asked))


async def subscriptions(client: Client) -> None:
    topics = [f"user:{client.user_id}", "system", *(f"channel:c{n}" for n in range(60))]
    async with client.web_socket():
        await client.call("subscribe", topics=topics, since="start", snapshot=True)
        while True:
            await client.call("unsubscribe", topics=topics)
            await client.call("subscribe", topics=topics, snapshot=True)


async def large_pages(client: Client) -> None:
    """Large events, and lists of them."""
    async with client.web_socket():
        for number in itertools.count():
            for _ in range(2):
                await client.call(
                    "event.publish",
                    type="notification",
                    recipient_id=client.user_id,
                    user_id=client.user_id,
                    subject=f"s{number}",
                    payload={"text": "x" * 60_000},
                )
            await client.call("event.list", topic=f"user:{client.user_id}", limit=500)


async def cancellations(client: Client) -> None:
    async with client.web_socket():
        while True:
            made = await client.call("task.create", agent="nobody", input={"x": "x" * 1000})
            if "result" in made:
                await client.call("task.cancel", task_id=made["result"]["task_id"])


async def registrations(client: Client) -> None:
    async with client.web_socket():
        for number in itertools.count():
            await client.call("agent.register", handle=f"h{number}", domain=f"d{number}")


async def left_claims(client: Client) -> None:
    """Claims that wait, and whose clients are gone."""
    async with client.opened():
        made = await client.http("POST", "/api/agents", orjson.dumps({"handle": "claimer"}))
        proof = {name: made[name] for name in ("agent_id", "agent_secret") if name in made}
        asked = orjson.dumps({**proof, "wait": 30})
        await client.send(client.request("POST", "/api/tasks/claim", asked))


async def lock_loops(client: Client) -> None:
    async with client.web_socket():
        for number in itertools.count():
            key = {"resource_key": f"r{number}", "holder": client.user_id}
            taken = await client.call("lock.acquire", **key, ttl=1 + number % 300)
            if "result" in taken and number % 2:
                lock = {name: taken["result"][name] for name in ("lock_id", "holder", "term")}
                await client.call("lock.release", **lock)


# Each kind, and how many of its connections there are at once.
KINDS: dict[str, tuple[Kind, int]] = {
    kind.__name__: (kind, count)
    for count, kinds in (
        (
            ASKING,
            (
                *(wrong_frames, wrong_bodies, garbage, giant_bodies, giant_frames, strangers),
                *(strange_sockets, early_frames, flood, flood_of_frames, flood_of_tools),
                *(subscriptions, large_pages, cancellations, registrations, left_claims),
                *(lock_loops, deaf, deaf_sockets),
            ),
        ),
        (HOLDING, (half_heads, half_bodies, silent_sockets)),
    )
    for kind in kinds
}


async def again_and_again(kind: Kind, client: Client) -> None:
    """Begin anew whenever the gateway has ended it."""
    while True:
        try:
            await kind(client)
        except (OSError, EOFError):
            client.answers["dropped"] += 1


async def run(url: str, names: list[str]) -> None:
    """Let them all begin, until the input ends."""
    # Others have machines of their own: these take what gateway and users leave of this one.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    found: dict[str, collections.Counter[str]] = {}
    going: list[asyncio.Task[None]] = []
    for name in names:
        kind, count = KINDS[name]
        found[name] = collections.Counter()
        whose = f"hostile-{name.partition('_of_')[0].replace('_', '-')}"
        agent = kind in (registrations, left_claims, lock_loops, flood_of_frames)
        make = functools.partial(Client, urlsplit(url).netloc, whose, found[name], agent=agent)
        going += [asyncio.create_task(again_and_again(kind, make())) for _ in range(count)]
    print("ready", flush=True)  # noqa: T201
    reading = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    done, _ = await asyncio.wait({reading, *going}, return_when=asyncio.FIRST_COMPLETED)
    for task in going:
        task.cancel()
    await asyncio.gather(*going, return_exceptions=True)
    for finished in done:
        finished.result()
    print(orjson.dumps(found).decode(), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2:]))
