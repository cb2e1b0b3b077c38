"""What a trusted proxy passes on: whose connections they are, and what that one may have."""

from __future__ import annotations

import contextlib

from tests.transports.http_client import ask
from tests.transports.raw_client import Raw, frame, handshake, raw, request
from tests.transports.world import SECRET, World, token, until, world

PROXY = ("127.0.0.1",)


def from_client(address: str, user_id: str = "ann", scope: str = "events:read") -> tuple[str, str]:
    bearer = f"Authorization: Bearer {token(user_id, scope)}"
    return f"X-Forwarded-For: {address}", bearer


async def asked(here: World, client: Raw, address: str, **who: str) -> tuple[int, str]:
    """Send a request over a proxy's connection; gives status and code."""
    await client.send(request(here, "GET /api/tasks", *from_client(address, **who)))
    answer = await client.answer()
    return answer.status, answer.json.get("code", "")


async def test_an_address_behind_a_proxy_has_its_own_number_of_connections() -> None:
    """All clients of a proxy had together what one address may have."""
    async with (
        world(secret=SECRET, trusted_proxies=PROXY, max_connections_address=2) as here,
        contextlib.AsyncExitStack() as stack,
    ):
        clients = [await stack.enter_async_context(raw(here)) for _ in range(6)]
        for number, client in enumerate(clients):
            assert await asked(here, client, f"192.0.2.{number // 2}") == (200, "")
        assert len(here.limits.places.addresses) == 3
        crowded = await stack.enter_async_context(raw(here))
        assert await asked(here, crowded, "192.0.2.1") == (429, "too_many_connections")
        # The proxy's next request over the same connection is somebody else's.
        assert await asked(here, clients[0], "192.0.2.7") == (200, "")
        assert await asked(here, clients[1], "192.0.2.0") == (200, "")
        another = await stack.enter_async_context(raw(here))
        assert await asked(here, another, "192.0.2.0") == (200, "")
        # Operators are exempt here, too.
        late = await stack.enter_async_context(raw(here))
        assert await asked(here, late, "192.0.2.1", user_id="root", scope="admin") == (200, "")
        await stack.aclose()
        await until(lambda: here.limits.places.taken == 0)
        assert len(here.limits.places.addresses) == 0


async def test_a_websocket_behind_a_proxy_counts_for_its_client() -> None:
    async with (
        world(secret=SECRET, trusted_proxies=PROXY, max_connections_address=1) as here,
        raw(here) as first,
        raw(here) as second,
        raw(here) as other,
    ):
        connect = {"jsonrpc": "2.0", "id": 1, "method": "connect", "params": {"token": token()}}
        for client, address in ((first, "192.0.2.1"), (second, "192.0.2.1"), (other, "192.0.2.2")):
            await client.send(handshake(here, f"X-Forwarded-For: {address}"))
            await client.reader.readuntil(b"\r\n\r\n")
            await client.send(frame(connect))
        assert await second.close_code() == 4004
        for client in (first, other):
            assert b'"result"' in (await client.next_frame())[1]


async def test_who_is_no_trusted_proxy_names_no_client() -> None:
    async with (
        world(secret=SECRET, trusted_proxies=("192.0.2.9",), max_connections_address=1) as here,
        raw(here) as first,
    ):
        assert await asked(here, first, "192.0.2.1") == (200, "")
        answer = await ask(here, "GET", "/health", headers={"x-forwarded-for": "192.0.2.2"})
        assert answer.status == 429
