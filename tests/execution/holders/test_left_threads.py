"""Left threads: nobody begins a task's next attempt while the last one runs on in its thread."""

from __future__ import annotations

import pytest

from gateway import Task
from gateway.domain.errors import Conflict
from tests.execution.hands import hand
from tests.execution.world import World


async def test_neither_this_process_nor_a_worker_begins_while_the_thread_runs(here: World) -> None:
    stop = here.stop()

    @here.gateway.agent("plain", timeout=2.0, max_attempts=2)
    def plain(task: Task) -> str:
        if task.attempt == 1:
            stop.here()
        return "done"

    task_id = await here.submit("plain")
    await stop.reached.wait()
    await here.until(lambda: here.said("recovery_attempt"))
    worker = await hand(here, "plain")
    await worker.beat_for(5)
    threads, task = here.engine.parts.runner.left_threads, here.state.tasks[task_id]
    assert threads.here(task)
    assert threads.running(task, by=worker.agent_id)
    assert await worker.claim() is None
    with pytest.raises(Conflict, match="waits for the thread of its last attempt"):
        await worker.claim(task_id=task_id)
    stop.go()
    await here.done(task_id)
    assert not threads.running(task, by=worker.agent_id)


async def test_another_node_waits_for_as_long_as_the_one_with_the_thread_is_there(
    here: World,
) -> None:
    """What it knows of the thread is what was told; it cannot see it end."""
    node = await hand(here, "node", agents=[{"name": "plain"}])
    task_id = await here.submit("plain")
    await node.claim()
    await node.tell("task.fail", message="no", error_type="timeout")
    threads, task = here.engine.parts.runner.left_threads, here.state.tasks[task_id]
    assert not threads.running(task, by="another")
    task.waiting_for = {"waits_for": "thread", "name": "plain", "until": None}
    assert threads.running(task, by="another")
    assert not threads.running(task, by=node.agent_id)
    await here.call("agent.remove", node.caller, **node.proof)
    assert not threads.running(task, by="another")
    await here.call("task.cancel", task_id=task_id)
