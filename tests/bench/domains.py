"""
What a failing domain costs the other one, with processes that are really killed.

    python -m tests.bench.domains

Two domains with four workers each; every worker does eight tasks at a time, of one to five seconds
each, and there are always more that wait. After twenty seconds the processes of half the workers of
one domain are killed again and again, each as soon as it works again. Counted is what each domain
finishes in a second, as a browser reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections import Counter

import psutil

from gateway.app.clock import SystemClock
from tests.scenarios.harness import Browser, WorkerProcess, browser, gateway_process, worker_process

__all__ = ["run"]

DOMAINS = ("east", "west")
WORKERS = 4
AT_ONCE = 8
BEFORE_S = 20.0
DURING_S = 30.0
TASKS = 1_500
USERS = 5
# What is promised: the other domain loses at the most this share.
LOSS_MAX = 0.10

CLOCK = SystemClock()


async def run() -> list[str]:
    """Measure and print; gives the promises that were not kept."""
    print(f"two domains of {WORKERS} workers; half of east's are killed for {DURING_S:.0f} s")
    async with (
        gateway_process(target=None, queue_limit=2 * TASKS, queue_share=1, rate_ws=0) as gateway,
        browser(gateway.url) as page,
        contextlib.AsyncExitStack() as stack,
    ):
        workers = {
            name: await asyncio.gather(
                *(
                    stack.enter_async_context(
                        worker_process(
                            gateway.url,
                            *("--concurrency", str(AT_ONCE), "--domain", name),
                            target="tests.bench.agents:gateway",
                        )
                    )
                    for _ in range(WORKERS)
                )
            )
            for name in DOMAINS
        }
        for number in range(TASKS):
            await page.call("task.create", agent="brief", user_id=f"user-{number % USERS}")
        await page.until(lambda _: len(page.all("task_finished")) > WORKERS * AT_ONCE)
        domain_of = {worker.agent_id: name for name, them in workers.items() for worker in them}
        before = await _finished(page, domain_of, BEFORE_S)
        doomed = workers["east"][: WORKERS // 2]
        killing = [asyncio.create_task(_killed_again(page, worker)) for worker in doomed]
        during = await _finished(page, domain_of, DURING_S)
        for kill in killing:
            kill.cancel()
        await asyncio.gather(*killing, return_exceptions=True)
        print(f"{'tasks finished in a second':32}{'before':>9}{'during':>9}{'change':>9}")
        changes = {}
        for name in DOMAINS:
            was, now = before[name] / BEFORE_S, during[name] / DURING_S
            changes[name] = (now - was) / was
            print(f"{name:32}{was:9.1f}{now:9.1f}{changes[name]:9.1%}")
        lost = page.all("agent_error", error_type="agent_lost")
        opened = page.all("circuit_breaker_triggered", scope="domain", breaker="east")
        others = [end for end in page.all("task_finished") if end["outcome"] != "succeeded"]
        print(
            f"attempts lost: {len(lost)}, openings of east: {len(opened)}, "
            f"tasks that did not succeed: {len(others)}"
        )
    if changes["west"] >= -LOSS_MAX and not others:
        return []
    return [f"west loses at most {LOSS_MAX:.0%}, and every task succeeds, while east is killed"]


async def _finished(page: Browser, domain_of: dict[str, str], seconds: float) -> Counter[str]:
    """Count what each domain finishes from now on for so long."""
    first = len(page.events)
    await CLOCK.sleep(seconds)
    holders = {
        event["task_id"]: event["agent_id"]
        for event in page.events
        if event["type"] == "task_started"
    }
    ended = itertools.islice(page.events, first, None)
    return Counter(
        domain_of[holders[event["task_id"]]] for event in ended if event["type"] == "task_finished"
    )


async def _killed_again(page: Browser, worker: WorkerProcess) -> None:
    """Kill the process that runs a worker's agents, each time that it has begun a task."""
    while True:
        seen = len(page.events)
        with contextlib.suppress(psutil.Error, ProcessLookupError, ValueError):
            os.kill(worker.child.pid, signal.SIGKILL)
        while not any(
            event["type"] == "task_started" and event["agent_id"] == worker.agent_id
            for event in page.events[seen:]
        ):
            await CLOCK.sleep(0.05)


if __name__ == "__main__":
    sys.exit("\n".join(asyncio.run(run())) or None)
