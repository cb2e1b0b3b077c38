"""
An agent that has nothing but MCP tools, as in the audit: it lives, takes what it wants, is killed.

    python -m tests.scenarios.audited_agent URL TOKEN TTL BEATS WANT...

It registers, beats BEATS times at the interval that it is told, takes each WANT for TTL seconds,
and beats on for ever. A WANT is a lock's key, or ``task``: the next one. Each answer that gives it
something is a JSON line on stdout.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from gateway.app.clock import SystemClock

HANDLE, TYPE = "failure-recovery-agent", "resilience-tester"


async def main(url: str, token: str, ttl_s: float, beats: int, wants: list[str]) -> None:
    """Live until the process is killed."""
    clock = SystemClock()
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as plain,
        Client(streamable_http_client(f"{url}/mcp", http_client=plain)) as client,
    ):

        async def use(name: str, **arguments: Any) -> dict[str, Any]:
            result = await client.call_tool(name, arguments)
            answer = result.structured_content
            assert isinstance(answer, dict)
            assert not result.is_error, answer
            return answer

        def say(answer: dict[str, Any]) -> None:
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()

        me = await use("agent.register", handle=HANDLE, type=TYPE)
        proof = {name: me[name] for name in ("agent_id", "agent_secret")}
        say(me)
        for _ in range(beats):
            await use("agent.heartbeat", **proof, status="idle")
            await clock.sleep(me["heartbeat_interval"])
        for want in wants:
            if want == "task":
                say(await use("task.claim", **proof, wait=10, lease_ttl=ttl_s))
            else:
                lock = {"resource_key": want, "holder": me["agent_id"], "ttl": ttl_s}
                say(await use("lock.acquire", **lock))
        while True:
            await use("agent.heartbeat", **proof, status="busy")
            await clock.sleep(me["heartbeat_interval"])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]))
