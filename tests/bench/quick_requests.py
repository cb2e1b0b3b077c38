"""A thousand requests in quick sequence, over one connection or as many, with 10,000 tasks."""

from __future__ import annotations

import asyncio

from tests.scenarios.harness import gateway_process
from tests.scenarios.plain_requests import over_new_connections, over_one_connection, p99_ms

__all__ = ["run"]

PATHS = ("/api/agents", "/api/tasks", "/api/stats", "/api/events?limit=5", "/api/users/ann/impact")
COUNT = 1000
TASKS = 10_000


async def run() -> None:
    """Measure and print."""
    print(f"{COUNT} GET requests in quick sequence, p99 in ms")
    async with gateway_process(
        target=None, rate_http=0, queue_limit=2 * TASKS, queue_share=1
    ) as gateway:
        for tasks in (0, TASKS):
            for number in range(0, tasks, 100):
                names = (f"{number + n}" for n in range(100))
                await asyncio.gather(
                    *(gateway.task("writer", name, user_id="ann") for name in names)
                )
            for path in (None, "/api/stats"):
                for way in (over_one_connection, over_new_connections):
                    answers = await way(gateway.port, [path] if path else PATHS, COUNT)
                    assert all(answer.status == 200 for answer in answers)
                    what = f"{tasks} tasks, {path or 'all'}, {way.__name__}"
                    print(f"{what:52}{p99_ms(answers):9.2f}")


if __name__ == "__main__":
    asyncio.run(run())
