"""
Writing down the folds while the gateway serves: how long its loop stands still.

    python -m tests.bench.snapshots [TASKS]

TASKS (10,000) have ended and preserve 20 KB each. The probe asks for its turn again and again; its
longest wait is the pause that every connection feels. On a machine that has other work, too, the
share of it that this thread has computed is the one to look at.
"""

from __future__ import annotations

import asyncio
import sys
import time

import orjson

from gateway.app.clock import SystemClock
from gateway.domain.settings import Settings
from gateway.execution.record.snapshot import encode, written
from gateway.execution.record.state import State
from gateway.ports import Entry

__all__ = ["run"]

TASKS = 10_000
TEXT_BYTES = 20_000


async def run(tasks: int = TASKS) -> None:
    """Measure and print."""
    state, clock = _state(tasks), SystemClock()
    print(f"snapshot of {tasks:,} ended tasks of {TEXT_BYTES // 1000} KB")
    print(f"{'':22}{'took ms':>9}{'longest pause ms':>18}{'computed':>10}{'MB':>7}")

    async def at_once() -> bytes:
        return encode(state)

    async def in_slices() -> bytes | bytearray:
        return await written(state, lambda: clock.sleep(0))

    for name, write in (("in one turn", at_once), ("in slices", in_slices)):
        waits: list[tuple[float, float]] = []
        probe = asyncio.ensure_future(_probe(waits))
        await clock.sleep(0.05)
        begun = time.perf_counter()
        body = await write()
        took_s = time.perf_counter() - begun
        await clock.sleep(0.05)
        probe.cancel()
        longest_s, computed_s = (max(each) for each in zip(*waits, strict=True))
        print(
            f"{name:22}{took_s * 1e3:9.0f}{longest_s * 1e3:18.1f}{computed_s * 1e3:10.1f}"
            f"{len(body) / 1e6:7.1f}"
        )


async def _probe(waits: list[tuple[float, float]]) -> None:
    clock = SystemClock()
    while True:
        asked_at, computed = time.perf_counter(), time.thread_time()
        await clock.sleep(0)
        waits.append((time.perf_counter() - asked_at, time.thread_time() - computed))


def _state(tasks: int) -> State:
    size = tasks * TEXT_BYTES * 2
    state = State(Settings(partial_bytes_all=size, partial_bytes_user=size))
    offset = 0

    def tell(task_id: str, type: str, fact: dict[str, object], **fields: object) -> None:
        nonlocal offset
        offset += 1
        event = {"type": type, "task_id": task_id, "user_id": "ann", "agent_name": "a", **fields}
        public = orjson.dumps(event)
        entry = Entry(
            offset=offset,
            at=1_800_000_000.0,
            subject=f"task/{task_id}",
            type=type,
            topics=("user:ann",),
            operators_only=False,
            public=public,
            operator=public,
            state=orjson.dumps(fact),
        )
        state.apply(entry, event)

    for number in range(tasks):
        task_id = f"{number:036d}"
        text = f"{number:05d} said “so” – " + "lorem ipsum " * (TEXT_BYTES // 12 - 2)
        tell(
            task_id, "task_submitted", {"input": {"q": 1}}, priority=5, timeout=9.0, max_attempts=1
        )
        tell(task_id, "task_started", {"term": 1, "holder": "w"}, attempt=1)
        tell(task_id, "partial_result", {}, piece=1, text=text)
        end = {"outcome": "succeeded", "result": 1, "degraded": False, "served_by": None}
        tell(task_id, "task_finished", {}, event_id=task_id, **end)
    return state


if __name__ == "__main__":
    asyncio.run(run(*map(int, sys.argv[1:2])))
