"""An agent that tells what its process holds, for tests that nothing is left of what went by."""

from __future__ import annotations

import asyncio
import gc

from gateway import Gateway, Task

gateway = Gateway()


@gateway.agent("count")
async def count(task: Task) -> dict[str, int]:
    """Count the tasks of this event loop, and the objects that the collector knows."""
    gc.collect()
    return {"tasks": len(asyncio.all_tasks()), "objects": len(gc.get_objects())}
