"""Attempts in processes of their own, without a gateway: run here, and written down."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import psutil

from gateway.app.clock import SystemClock
from gateway.attempts.agents import Declared
from gateway.attempts.attempt import Attempts
from gateway.attempts.pieces import Piece, Rest
from gateway.attempts.tries import Tries
from gateway.domain.failure import Failure
from gateway.domain.preserved import Kept
from gateway.domain.settings import Settings
from gateway.values import RESULT_BYTES_MAX, measured
from tests.attempts.isolated_agents import gateway
from tests.attempts.steps import assignment

__all__ = ["Isolated", "Runs", "below", "the_forker", "until"]

WAIT_S = 20.0


class Isolated:
    """
    Makes attempts with the isolated agents, and writes down what they report.

    Attributes:
        text: What the newest attempt has said.
        failed: Why it failed: code, cause and detail.
        result: What it has returned.
        cleaned: What was cleaned up after it.
    """

    def __init__(self) -> None:
        self.attempts = Attempts(
            gateway.agents, self, SystemClock(), Settings(), freed=lambda: None
        )
        self.text = ""
        self.pieces: list[Piece] = []
        self.steps: dict[str, Any] = {}
        self.result: Any = None
        self.failed: tuple[str, str, dict[str, Any]] | None = None
        self.cleaned_up: tuple[list[str], list[str]] | None = None
        self.said = asyncio.Event()

    def begin(
        self, agent: str, *, limit_s: float = WAIT_S, fallback: bool = False, **given: Any
    ) -> asyncio.Task[None]:
        """Begin the second attempt at a task."""
        declared = gateway.agents.get(agent)
        assert declared is not None
        return self.begin_with(declared, limit_s=limit_s, fallback=fallback, **given)

    def begin_with(
        self, declared: Declared, *, limit_s: float = WAIT_S, fallback: bool = False, **given: Any
    ) -> asyncio.Task[None]:
        """Begin one with an agent as it is declared here."""
        self.text, self.pieces, self.steps = "", [], {}
        self.result = self.failed = self.cleaned_up = None
        self.said.clear()
        made = self.attempts.make(
            assignment(
                agent_name=declared.policy.name,
                input=given or None,
                limit_s=limit_s,
                preserved=Kept({"one": 1}, "before "),
            ),
            declared,
            fallback=fallback,
        )
        return asyncio.ensure_future(made)

    async def make(self, agent: str, **given: Any) -> None:
        """Make such an attempt."""
        async with asyncio.timeout(WAIT_S):
            await self.begin(agent, **given)

    async def make_with(self, declared: Declared, **given: Any) -> None:
        """Make one with an agent as it is declared here."""
        async with asyncio.timeout(WAIT_S):
            await self.begin_with(declared, **given)

    @property
    def failure(self) -> tuple[str, str, dict[str, Any]]:
        """Why the newest attempt has failed, as it has: code, cause and detail."""
        assert self.failed is not None
        return self.failed

    @property
    def code(self) -> str | None:
        """Why the newest attempt has failed."""
        return None if self.failed is None else self.failed[0]

    async def tell(
        self, task_id: str, term: int, piece: Piece, *, tries: Tries | None = None
    ) -> None:
        self.text = (piece.text or "") if piece.replaces else self.text + (piece.text or "")
        self.pieces.append(piece)
        self.said.set()

    async def succeed(
        self, task_id: str, term: int, result: Any, *, steps: Mapping[str, Any] | None = None
    ) -> None:
        measured(result, field="result", bytes_max=RESULT_BYTES_MAX)  # as every listener does
        self.result, self.steps = result, dict(steps or {})

    async def fail(
        self,
        task_id: str,
        term: int,
        failure: Failure,
        *,
        cause: str,
        detail: Mapping[str, Any] | None = None,
        rest: Rest | None = None,
    ) -> None:
        self.failed = failure.error_code, cause, dict(detail or {})
        self.text += "" if rest is None else rest.text

    async def cleaned(
        self,
        task_id: str,
        term: int,
        *,
        resources: list[str],
        memory_freed: int,
        leftovers: list[str],
        tries: Tries | None = None,
    ) -> None:
        self.cleaned_up = resources, leftovers


class Runs:
    """
    One loop of real time, and one forker, for all tests of a process: it imports for a second.

    Attributes:
        folder: Where temporary files are while tests run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runner = asyncio.Runner()
        self._here: Isolated | None = None

    def __call__(self, work: Callable[[Isolated], Coroutine[Any, Any, None]]) -> None:
        """Run ``work``, and look that it leaves no process and no file."""
        usual, tempfile.tempdir = tempfile.tempdir, str(self.folder)
        try:
            self._runner.run(self._whole(work))
        finally:
            tempfile.tempdir = usual

    async def _whole(self, work: Callable[[Isolated], Coroutine[Any, Any, None]]) -> None:
        if self._here is None:
            self._here = Isolated()
        await self._here.attempts.prepare()
        processes = below(os.getpid())
        await work(self._here)
        assert len(below(os.getpid())) == len(processes)
        await until(lambda: list(self.folder.glob("*/*")) == [])

    def close(self) -> None:
        """End the forker, and look that nothing is left."""
        if self._here is not None:
            self._runner.run(self._here.attempts.close())
            assert list(self.folder.iterdir()) == []
        self._runner.close()


def below(pid: int) -> set[int]:
    """The processes below one that have not ended."""
    found = set()
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
    return found


def the_forker() -> psutil.Process:
    """The forker of this process."""
    (forker,) = (
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "gateway.attempts.forker" in child.cmdline()
    )
    return forker


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await SystemClock().sleep(0.01)
