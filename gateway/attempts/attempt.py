"""
One attempt at a task in this process: run the agent's code within its limit, report what it gives.

The rule: whatever ends the attempt (a result, an exception, the limit, a cancellation, the end of
the task), the report goes out at once; only then is the code stopped and cleaned up after. Code
that does not stop when it is cancelled is left alone after a grace, and what it says is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from gateway.attempts.agents import Agents, Declared, Function
from gateway.attempts.assignment import Assignment
from gateway.attempts.background import Background
from gateway.attempts.calling import (
    call,
    error_of,
    is_async,
    seen,
    thread_named,
    thread_of,
)
from gateway.attempts.cells import Cell, Cells
from gateway.attempts.cleanup import Cleaned, clean
from gateway.attempts.demands import Demands
from gateway.attempts.idle import Idle
from gateway.attempts.late import Late
from gateway.attempts.outcome import acceptable, failed_beside, judge
from gateway.attempts.pieces import Pieces
from gateway.attempts.reporter import Listener, Reporter
from gateway.attempts.spans import Span, spanned
from gateway.attempts.task import Resources, Task
from gateway.attempts.threads import Threads
from gateway.domain import own_failures
from gateway.domain.agent import AgentPolicy
from gateway.domain.description import describe
from gateway.domain.errors import Conflict, StaleTerm
from gateway.domain.settings import Settings
from gateway.ports import Clock

__all__ = ["Attempts"]

# How long code may take to stop after it was cancelled, before it is named as a leftover.
CANCEL_GRACE_S = 1.0
# How long a block waits at its end for a store that is away, in seconds. Then it goes on, and its
# end is told from here, as soon as the store takes it; the task's deadline is the bound of that.
END_WAIT_S = 5.0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Attempt:
    """
    An attempt that is being made.

    Attributes:
        task: What the agent's code speaks to.
        resources: What that code uses and has to be cleaned up after it.
        pieces: What it has said and is not told yet.
        reporter: Tells the listener about the attempt.
        over: Set when the task has ended without the attempt.
        span: Traces it.
        idle: Knows when it last gave something.
        background: Knows what its code has started.
    """

    task: Task
    resources: Resources
    pieces: Pieces
    reporter: Reporter
    over: asyncio.Event
    span: Span
    idle: Idle
    background: Background


class Attempts:
    """
    Makes attempts with the agents of this process.

    Args:
        agents: The agents of this process.
        listener: Takes what attempts report, and decides what comes next.
        clock: For waits, and for the dates that failures may hold.
        settings: Bounds of text, steps and threads.
        freed: Called when a thread has ended, which may be long after its attempt.
        detected: Called with task and term at the moment that an attempt has failed; None: nobody
            wants to know.
    """

    def __init__(
        self,
        agents: Agents,
        listener: Listener,
        clock: Clock,
        settings: Settings,
        *,
        freed: Callable[[], None],
        detected: Callable[[str, int], None] | None = None,
    ) -> None:
        self.agents = agents
        self._listener = listener
        self._clock = clock
        self._settings = settings
        self._detected = detected
        self.threads = Threads(settings.threads, freed)
        self._cells = Cells(settings, clock)
        # The newest attempt of each task.
        self._made: dict[str, _Attempt] = {}
        self._late = Late()

    @property
    def late(self) -> AbstractSet[str]:
        """The tasks of blocks that have gone on, and whose end is still being told."""
        return self._late.tasks

    def has_room(self, declared: Declared, *, fallback: bool) -> bool:
        """Whether an attempt could begin now; plain functions of this process need a thread."""
        function = declared.fallback if fallback else declared.function
        return self.threads.room or declared.home is not None or is_async(function)

    def left_running(self, task_id: str, attempt: int) -> bool:
        """Whether the thread of an attempt still runs in this process."""
        return self.threads.runs(thread_named(task_id, attempt))

    def clear(self) -> None:
        """Stop every attempt: the log with their tasks is lost, or this process leaves."""
        for task_id in tuple(self._made):
            self.ended(task_id)
        self._late.cancel()

    async def prepare(self) -> None:
        """
        Make ready what the attempts of isolated agents need, so that the first begins at once.

        Raises:
            ConfigurationError: If one cannot be found by another process.
        """
        for declared in self.agents:
            if declared.home is not None:
                await self._cells.find(declared)

    async def close(self) -> None:
        """End the processes of isolated agents, with all that they have started."""
        await self._cells.close()

    def ended(self, task_id: str) -> None:
        """Stop working on a task that has ended; nothing happens if none is worked on."""
        if (attempt := self._made.get(task_id)) is not None:
            attempt.pieces.close()
            attempt.over.set()

    async def make(self, assignment: Assignment, declared: Declared, *, fallback: bool) -> None:
        """
        Make an attempt that has just been started. What the agent raises is reported, not raised.

        Cancelling cancels the agent's code; then nothing is reported or cleaned up.

        Args:
            assignment: The attempt.
            declared: The agent.
            fallback: Whether its fallback is to answer in its place.
        """
        with spanned(assignment, mode="fallback" if fallback else "primary") as span:
            function = declared.fallback if fallback and declared.fallback else declared.function
            if declared.home is None:
                await self._make(assignment, declared, function, span)
            else:
                cell = self._cells.open(declared, assignment, fallback=fallback)
                try:
                    await self._make(assignment, declared, function, span, cell)
                finally:
                    cell.abandon()

    async def _make(
        self,
        assignment: Assignment,
        declared: Declared,
        function: Function,
        span: Span,
        cell: Cell | None = None,
    ) -> None:
        policy = declared.policy
        async with self._supervised(assignment, declared.demands, span) as attempt:
            running = asyncio.ensure_future(
                self._called(function, attempt, declared.demands)
                if cell is None
                else cell.result(attempt.pieces, attempt.resources)
            )
            over = asyncio.ensure_future(attempt.over.wait())
            try:
                await attempt.idle.wait({running, over}, limit_s=assignment.limit_s)
            except asyncio.CancelledError:
                # The gateway stops, and the agent's code does not outlive it.
                running.cancel()
                raise
            finally:
                over.cancel()
            if running.done():
                if (error := error_of(running)) is None:
                    await self._succeed(attempt, running.result())
                else:
                    # Whoever asks for the end of an attempt is answered by one of the two others.
                    await self._fail(attempt, error, policy, declared.demands, asked=False)
            elif not attempt.over.is_set():
                if cell is not None:
                    await cell.silence(running)
                await self._time_out(attempt, assignment.limit_s, policy)
            if cell is not None:
                await cell.end(running, attempt.resources)
            still_running = await self._stopped(running, function, attempt.task)
        if cleaned := await self._cleaned(attempt, declared.cleanup, still_running):
            await attempt.reporter.cleaned(cleaned)

    @contextlib.asynccontextmanager
    async def around(
        self,
        assignment: Assignment,
        policy: AgentPolicy,
        *,
        hooks: Sequence[Function],
        demands: Demands,
    ) -> AsyncIterator[Task]:
        """
        Supervise code that the caller runs: one attempt, without the queue.

        What the block raises is reported, and raised on. Cancelling the caller cancels the task. At
        the end the caller waits ``END_WAIT_S`` for the store at the most, and for the cleanup; what
        the store did not take by then is told later, in the same order. A caller that is cancelled
        meanwhile goes on at once, and the cleanup is finished without it.
        """
        with spanned(assignment, mode="primary", here=True) as span:
            async with self._around(assignment, policy, hooks, demands, span) as task:
                yield task

    @contextlib.asynccontextmanager
    async def _around(
        self,
        assignment: Assignment,
        policy: AgentPolicy,
        hooks: Sequence[Function],
        demands: Demands,
        span: Span,
    ) -> AsyncIterator[Task]:
        supervised = contextlib.AsyncExitStack()
        asked_before = _times_asked()
        attempt = await supervised.enter_async_context(self._supervised(assignment, demands, span))
        end: Coroutine[Any, Any, None]
        try:
            async with asyncio.timeout(assignment.limit_s) as limit:
                attempt.background.begin()
                with attempt.idle.ends(limit):
                    yield attempt.task
                result = await acceptable(
                    attempt.task.result, task_id=assignment.task_id, demands=demands
                )
        except BaseException as error:
            if limit.expired() and isinstance(error, TimeoutError):
                end = self._time_out(attempt, assignment.limit_s, policy, error)
            else:
                # A generator around the block is closed, the process is interrupted: asked as well.
                asked = isinstance(error, GeneratorExit | KeyboardInterrupt)
                asked = asked or _times_asked() > asked_before
                end = self._fail(attempt, error, policy, demands, asked=asked)
            raise
        else:
            end = self._succeed(attempt, result)
        finally:
            attempt.background.end()
            # On its own: whatever cancels the caller, again and again as anyio's scopes do, the end
            # is told and the attempt is cleaned up after.
            closing = self._closed(attempt, supervised, end, hooks)
            await self._late.done(assignment.task_id, closing)

    async def _closed(
        self,
        attempt: _Attempt,
        supervised: contextlib.AsyncExitStack,
        end: Coroutine[Any, Any, None],
        hooks: Sequence[Function],
    ) -> None:
        """Tell the end of a block, as far as the store takes it in time, and clean up after it."""
        task_id = attempt.task.task_id
        wait_until = asyncio.get_running_loop().time() + END_WAIT_S
        try:
            await self._late.told(task_id, _ended(supervised, end), wait_until=wait_until)
        finally:
            if cleaned := await self._cleaned(attempt, hooks, None):
                telling = attempt.reporter.cleaned(cleaned)
                await self._late.told(task_id, telling, wait_until=wait_until)

    # --- how an attempt ends ----------------------------------------------------------------

    # An attempt that has lost its task, or comes too late, has nothing to report.

    async def _succeed(self, attempt: _Attempt, result: Any) -> None:
        with contextlib.suppress(StaleTerm, Conflict):
            await attempt.reporter.succeed(result)

    async def _fail(
        self,
        attempt: _Attempt,
        error: BaseException,
        policy: AgentPolicy,
        demands: Demands,
        *,
        asked: bool,
    ) -> None:
        """Tell what was raised; ``asked``: somebody outside has cancelled the code."""
        self._note(attempt)
        judged = judge(
            error,
            policy,
            demands,
            taught=self.agents.taught,
            now=self._clock.wall(),
            asked=asked,
        )
        attempt.span.failed(judged.failure)
        with contextlib.suppress(StaleTerm, Conflict):
            await attempt.reporter.fail(judged.failure, cause=judged.cause, detail=judged.detail)

    async def _time_out(
        self,
        attempt: _Attempt,
        limit_s: float,
        policy: AgentPolicy,
        error: BaseException | None = None,
    ) -> None:
        self._note(attempt)
        if attempt.idle.is_over:
            failure = own_failures.idle(attempt.idle.limit_s)
        else:
            failure = own_failures.timed_out(limit_s, llm_upstream=policy.upstream is not None)
        attempt.span.failed(failure)
        detail = None if error is None else describe(error)
        with contextlib.suppress(StaleTerm, Conflict):
            await attempt.reporter.fail(failure, cause="timeout", detail=detail)

    def _note(self, attempt: _Attempt) -> None:
        """Note when it failed: what it has yet to say is told first, and may have to wait."""
        if self._detected is not None:
            self._detected(attempt.task.task_id, attempt.reporter.term)

    async def _called(self, function: Function, attempt: _Attempt, demands: Demands) -> Any:
        task = attempt.task
        attempt.background.begin()
        try:
            result = await call(function, task, threads=self.threads)
        finally:
            attempt.background.end()
        return await acceptable(result, task_id=task.task_id, demands=demands)

    async def _stopped(
        self, running: asyncio.Future[Any], function: Function, task: Task
    ) -> str | None:
        """Stop what still runs; returns its name if it does not stop."""
        name = getattr(function, "__name__", "agent")
        if not running.done():
            running.cancel()
            await asyncio.wait({running}, timeout=CANCEL_GRACE_S)
            running.add_done_callback(seen)
        if not running.done():
            return f"coroutine: {name}"
        return f"thread: {name}" if self.threads.runs(thread_of(task)) else None

    async def _cleaned(
        self, attempt: _Attempt, hooks: Sequence[Function], still_running: str | None
    ) -> Cleaned:
        """Clean up after an attempt, and give what there was, if anything."""
        return await clean(
            attempt.task,
            attempt.resources,
            hooks,
            threads=self.threads,
            still_running=still_running,
        )

    # --- while it is made -------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _supervised(
        self, assignment: Assignment, demands: Demands, span: Span
    ) -> AsyncIterator[_Attempt]:
        """Set up an attempt, and tell what its code says until the block ends."""
        loop = asyncio.get_running_loop()
        waiting = asyncio.Event()

        def wake() -> None:
            idle.moved()
            if not loop.is_closed():
                loop.call_soon_threadsafe(waiting.set)

        resources = Resources()
        idle = Idle(demands.idle_s)
        pieces = Pieces(
            task_id=assignment.task_id,
            attempt=assignment.attempt,
            # One more than is preserved: what is let go of here has then been cut there, too.
            chars_max=self._settings.partial_bytes_task + 1,
            wake=wake,
            starts_over=assignment.attempt > 1,
        )
        attempt = _Attempt(
            task=Task(
                assignment,
                pieces=pieces,
                resources=resources,
                step_bytes_max=self._settings.partial_bytes_task,
            ),
            resources=resources,
            pieces=pieces,
            reporter=Reporter(assignment, pieces, self._listener, self._clock),
            over=asyncio.Event(),
            span=span,
            idle=idle,
            background=Background(lambda error: failed_beside(assignment.task_id, pieces, error)),
        )
        self._made[assignment.task_id] = attempt
        teller = asyncio.ensure_future(attempt.reporter.tell_all(waiting))
        try:
            yield attempt
        finally:
            # The next attempt may have begun while this one was being stopped.
            if self._made.get(assignment.task_id) is attempt:
                del self._made[assignment.task_id]
            pieces.close()
            teller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await teller


async def _ended(supervised: contextlib.AsyncExitStack, end: Coroutine[Any, Any, None]) -> None:
    """Tell the end of a block, and supervise it no more."""
    async with supervised:
        await end


def _times_asked() -> int:
    """Count how often somebody has asked the code that runs now to end, and was not answered."""
    current = asyncio.current_task()
    return 0 if current is None else current.cancelling()
