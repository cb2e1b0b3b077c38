"""
The deputy: speaks for a worker's process while the loop of that process is blocked.

An agent that blocks its event loop stops the process's beats, its renewals and its answers, and
the gateway would give its tasks to others while it still works on them. The keeper sees that the
process lives. The rule: as long as it does, and is not stopped, its tasks stay its own, until the
limit of one of them is over. Then the process is killed, and another takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from gateway.attempts.processes import state_of
from gateway.client.errors import CallFailed, Disconnected
from gateway.client.http_calls import HttpCalls
from gateway.domain.diagnostics import logger_of
from gateway.worker.losses import Process
from gateway.worker.pause import pause

__all__ = ["Deputy"]

logger = logger_of(__name__)

# A process that says nothing on the line for so long has a blocked loop, in seconds: it speaks
# each quarter of that. Where beats are due more often, it is as long as between two beats.
SILENT_S_MAX = 2.0
# How often it is looked at, in seconds.
LOOK_EVERY_S = 0.1
# A look that is so late, in seconds: this process did not run either, and heard nothing.
LATE_S = 0.5
# What an attempt gets beyond its limit before its process is killed, in seconds: a loop that runs
# ends it by itself.
BEYOND_LIMIT_S = 1.0


class Deputy:
    """
    Watches one worker's process, and speaks for it.

    Args:
        calls: To the gateway.
        identity: Gives ``agent_id`` and ``agent_secret`` as which the gateway last accepted the
            worker.
        kill: Kills the process.
    """

    def __init__(
        self,
        calls: HttpCalls,
        identity: Callable[[], Mapping[str, str]],
        kill: Callable[[Process], None],
    ) -> None:
        self._calls = calls
        self._identity = identity
        self._kill = kill

    async def watch(self, process: Process) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        looked_at, since = loop.time(), None
        speaking: asyncio.Task[None] | None = None
        speak_at = 0.0
        try:
            while True:
                await pause(LOOK_EVERY_S)
                now = loop.time()
                if now - looked_at > LATE_S:
                    process.heard_at = now
                looked_at = now
                silent_s = now - process.heard_at
                if silent_s < min(SILENT_S_MAX, process.beat_every_s) or not _runs(process):
                    if since is not None:
                        logger.warning("the loop of the worker's process runs again")
                    since = None
                    continue
                if since is None:
                    since = process.heard_at
                    logger.warning(
                        "the loop of the worker's process is blocked%s; it keeps its %d tasks "
                        "until the limit of one of them",
                        f" at {process.blocked_at}" if process.blocked_at else "",
                        len(process.held),
                    )
                if now >= speak_at and (speaking is None or speaking.done()):
                    speak_at = now + process.beat_every_s
                    speaking = asyncio.create_task(self._speak(process, silent_s))
                if overdue := _overdue(process, now):
                    logger.warning("%d tasks are over their limit: killing the process", overdue)
                    self._kill(process)
                    return
        finally:
            if speaking is not None:
                speaking.cancel()

    async def _speak(self, process: Process, silent_s: float) -> None:
        """Beat, and renew the leases of the tasks; what is refused is not this one's to judge."""
        beat = {"status": "blocked", "loop_lag": round(silent_s, 3)}
        await self._call(process, "agent.heartbeat", beat)
        for task in list(process.held.values()):
            held = {"task_id": task["task_id"], "term": task["term"]}
            await self._call(process, "task.heartbeat", held)

    async def _call(self, process: Process, method: str, params: Mapping[str, Any]) -> None:
        proof = {name: self._identity()[name] for name in ("agent_id", "agent_secret")}
        with contextlib.suppress(CallFailed, Disconnected):
            await self._calls.call(method, {**params, **proof}, timeout=process.beat_every_s)


def _runs(process: Process) -> bool:
    """Whether a process lives and is not stopped: one that is stopped does no work at all."""
    return process.registered and state_of(process.popen.pid) not in ("T", "t", "Z", "X", None)


def _overdue(process: Process, now: float) -> int:
    """Note the tasks that are beyond their limit, and tell how many there are."""
    held = process.held.items()
    process.overdue = {key for key, task in held if task["due"] + BEYOND_LIMIT_S <= now}
    return len(process.overdue)
