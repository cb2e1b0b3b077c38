"""
The crew: the worker processes of the demonstration, and how one of them is killed.

Each worker is an ordinary ``gateway work``: a keeper, and below it the process that runs agents.
``kill`` ends the latter without a warning, and its keeper starts another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pathlib
import signal
import sys
from collections.abc import AsyncIterator, Callable

from gateway.app.demo.writer import MODEL_URL_VARIABLE
from gateway.app.settings import PREFIX
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import Conflict

__all__ = ["Crew"]

logger = logger_of(__name__)

TARGET = "gateway.app.demo.writer:gateway"
HANDLES = ("writer-a", "writer-b")
# Each worker writes one article at a time, so that two articles are seen at two workers.
CONCURRENCY = 1
# How long a worker has to finish its tasks, in seconds; the gateway has ended them before.
GRACE_S = 1.0
# How long a keeper has to end before it is killed, in seconds; more than it gives its process.
END_S = 8.0

CHILDREN = "/proc/{0}/task/{0}/children"


@dataclasses.dataclass(slots=True)
class _Member:
    """
    One worker.

    Attributes:
        keeper: The process that starts and watches the one that runs agents.
        agent_id: The worker's id at the gateway; None: it has not registered yet.
    """

    keeper: asyncio.subprocess.Process
    agent_id: str | None = None


class Crew:
    """
    The worker processes.

    Args:
        model_url: The base URL of the model that they call.
    """

    def __init__(self, model_url: str) -> None:
        self._model_url = model_url
        self._members: list[_Member] = []
        self._url: asyncio.Future[str] | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the workers when ``begin`` is called; at the end no process is left."""
        self._url = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as group:
                jobs = [group.create_task(self._employ(handle)) for handle in HANDLES]
                try:
                    yield
                finally:
                    for job in jobs:
                        job.cancel()
        finally:
            self._members.clear()

    def begin(self, url: str) -> None:
        """Start the workers for the gateway at ``url``, ``http://127.0.0.1:8000``."""
        if self._url is not None and not self._url.done():
            self._url.set_result(f"{url.replace('http', 'ws', 1)}/ws")

    def kill(self, *, busy: Callable[[str], bool]) -> int:
        """
        Kill the process of one worker, of a busy one if there is one, and return its pid.

        Args:
            busy: Whether the worker with this agent_id holds a task.

        Raises:
            Conflict: If no worker has a process at the moment.
        """
        there = [member for member in self._members if member.agent_id is not None]
        there.sort(key=lambda member: not busy(member.agent_id or ""))
        for member in there:
            for pid in _children(member.keeper.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    return pid
        raise Conflict("no worker has a process just now; another one is being started")

    async def _employ(self, handle: str) -> None:
        """Run one worker until cancelled."""
        assert self._url is not None
        environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        arguments = {
            "--url": await self._url,
            "--handle": handle,
            "--concurrency": str(CONCURRENCY),
            "--grace": str(GRACE_S),
            # When the demonstration ends, workers would warn of their lost connection.
            "--log-level": "error",
        }
        keeper = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.app.demo.employed", "work", TARGET),
            *(word for argument in arguments.items() for word in argument),
            env={**environment, MODEL_URL_VARIABLE: self._model_url},
            # Closes when this process ends, however it ends; see `employed.py`.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        member = _Member(keeper)
        self._members.append(member)
        try:
            assert keeper.stdout is not None
            while line := (await keeper.stdout.readline()).decode().split():
                if line[0] == "ready":
                    member.agent_id = line[1]
            logger.error("worker %s has ended: exit code %s", handle, await keeper.wait())
        finally:
            self._members.remove(member)
            await _end(keeper)


async def _end(keeper: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        keeper.terminate()
    try:
        async with asyncio.timeout(END_S):
            await keeper.wait()
    except TimeoutError:
        # The process below it ends with it.
        keeper.kill()
        await keeper.wait()


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in pathlib.Path(CHILDREN.format(pid)).read_text().split()]
    except OSError:
        return []  # There is no /proc here, or the process has just ended.
