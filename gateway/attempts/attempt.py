"""
One attempt at a task in this process: run the agent's code under its limit, report what it gives.

Whatever ends it (a result, an exception, the limit, a cancellation, the task's end from
outside), the report goes out at once; only then is stopped and cleaned up what is left. Code
that does not stop when it is cancelled is left alone after a grace: what it says is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Sequence,
)
from collections.abc import (
    Set as AbstractSet,
)
from typing import Any

from gateway.attempts.agents import Agents, Declared, Function
from gateway.attempts.assignment import Assignment
from gateway.attempts.cleanup import clean
from gateway.attempts.pieces import Pieces
from gateway.attempts.reporter import Listener, Reporter
from gateway.attempts.task import Task
from gateway.attempts.threads import Threads
from gateway.domain import own_failures
from gateway.domain.agent import AgentPolicy
from gateway.domain.classification import classify
from gateway.domain.description import describe
from gateway.domain.errors import Conflict, InvalidInput, RequestError, StaleTerm
from gateway.domain.failure import Failure
from gateway.domain.settings import Settings
from gateway.ports import Clock

__all__ = ["Attempts"]

logger = logging.getLogger(__name__)

# Between two tellings of a task, in seconds: at most ten a second, the last one included.
TELL_EVERY_S = 0.12
# How long code has to stop after it was cancelled, before it is named as a leftover.
CANCEL_GRACE_S = 1.0
# How long a block waits at its end for a store that is away, in seconds. Then it goes on, and its
# end is told from here, as soon as the store takes it; the task's deadline is the bound of that.
END_WAIT_S = 5.0


class Attempts:
    """
    Makes attempts with the agents of this process.

    Args:
        agents: Those of this process.
        listener: Takes what attempts report, and decides what comes next.
        clock: For the classification of dates in answers.
        settings: Bounds.
        freed: Called when a thread has ended, which may be long after its attempt.
    """

    def __init__(
        self,
        agents: Agents,
        listener: Listener,
        clock: Clock,
        settings: Settings,
        *,
        freed: Callable[[], None],
    ) -> None:
        self.agents = agents
        self._listener = listener
        self._clock = clock
        self._settings = settings
        self.threads = Threads(settings.threads, freed)
        self._over: dict[str, tuple[asyncio.Event, Pieces]] = {}
        # What is still told of blocks that have gone on, by task. No block begins while the store
        # is away, so there are at most as many as ran when it went.
        self._late: dict[str, set[asyncio.Task[None]]] = {}

    @property
    def late(self) -> AbstractSet[str]:
        """The tasks of blocks that have gone on, and whose end is still being told."""
        return self._late.keys()

    def has_room(self, declared: Declared, *, fallback: bool) -> bool:
        """Whether an attempt could begin now; plain functions need a free thread."""
        function = declared.fallback if fallback else declared.function
        return _is_async(function) or self.threads.room

    def clear(self) -> None:
        """Stop every attempt: their tasks are lost with their log, or this process leaves."""
        for task_id in tuple(self._over):
            self.ended(task_id)
        for telling in [job for jobs in self._late.values() for job in jobs]:
            telling.cancel()

    def ended(self, task_id: str) -> None:
        """The log says that a task has ended: stop working on it."""
        if (known := self._over.get(task_id)) is not None:
            over, pieces = known
            pieces.close()
            over.set()

    async def make(self, assignment: Assignment, declared: Declared, *, fallback: bool) -> None:
        """Make an attempt that has just been started; never raises."""
        policy = declared.policy
        function = declared.fallback if fallback and declared.fallback else declared.function
        async with self._supervised(assignment) as (task, reporter, over):
            running = asyncio.ensure_future(self._call(function, task))
            gone = asyncio.ensure_future(over.wait())
            try:
                await asyncio.wait(
                    {running, gone},
                    timeout=assignment.limit_s,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            except asyncio.CancelledError:
                # The gateway stops: the agent's code does not outlive it.
                running.cancel()
                raise
            finally:
                gone.cancel()
            failure, detail, cause = None, None, "exception"
            if running.done():
                error = _error_of(running)
                if error is not None:
                    failure = self._classified(error, policy)
                    detail = describe(error)
                    cause = "cancelled" if failure.error_type == "cancelled" else "exception"
            elif not over.is_set():
                failure = own_failures.timed_out(
                    assignment.limit_s, llm_upstream=policy.upstream is not None
                )
                cause = "timeout"
            with contextlib.suppress(StaleTerm, Conflict):
                if failure is not None:
                    await reporter.fail(failure, cause=cause, detail=detail)
                elif running.done():
                    await reporter.succeed(running.result())
            still = await self._stopped(running, function, task)
        await self._clean(task, reporter, declared.cleanup, still)

    @contextlib.asynccontextmanager
    async def around(
        self, assignment: Assignment, policy: AgentPolicy, *, hooks: Sequence[Function]
    ) -> AsyncIterator[Task]:
        """
        Supervise code that the caller runs: one attempt, without the queue.

        What the block raises is told, and raised on. Cancelling the caller cancels the task. At the
        end the caller waits ``END_WAIT_S`` for the store at the most, and for the cleanup; what
        the store did not take by then is told later, in the same order.
        """
        limit_s = assignment.limit_s
        supervised = contextlib.AsyncExitStack()
        task, reporter, _ = await supervised.enter_async_context(self._supervised(assignment))
        end: Awaitable[None]
        try:
            async with asyncio.timeout(limit_s) as limit:
                yield task
        except BaseException as error:
            if limit.expired() and isinstance(error, TimeoutError):
                cause = "timeout"
                failure = own_failures.timed_out(limit_s, llm_upstream=policy.upstream is not None)
            else:
                failure = self._classified(error, policy)
                cause = "cancelled" if failure.error_type == "cancelled" else "exception"
            end = reporter.fail(failure, cause=cause, detail=describe(error))
            raise
        else:
            end = reporter.succeed(task.result)
        finally:
            wait_until = asyncio.get_running_loop().time() + END_WAIT_S
            try:
                await self._told_or_late(task.task_id, _ended(supervised, end), wait_until)
            finally:
                cleaned = await clean(task, hooks, threads=self.threads, still_running=None)
                if cleaned:
                    telling = reporter.cleaned(cleaned)
                    await self._told_or_late(task.task_id, telling, wait_until)

    async def _told_or_late(
        self, task_id: str, telling: Coroutine[Any, Any, None], wait_until: float
    ) -> None:
        """Wait until it is told; at ``wait_until``, or when cancelled, leave it to itself."""
        job = asyncio.ensure_future(telling)
        try:
            await asyncio.wait(
                {job}, timeout=max(0.0, wait_until - asyncio.get_running_loop().time())
            )
        finally:
            if not job.done():
                logger.warning("task %s: its end waits for the store, the block goes on", task_id)
                self._late.setdefault(task_id, set()).add(job)
                job.add_done_callback(lambda job: self._no_longer_late(task_id, job))
        if job.done():
            job.result()

    def _no_longer_late(self, task_id: str, job: asyncio.Task[None]) -> None:
        jobs = self._late[task_id]
        jobs.discard(job)
        if not jobs:
            del self._late[task_id]
        if not job.cancelled() and (error := job.exception()) is not None:
            logger.error("task %s: its end could not be told", task_id, exc_info=error)

    def _classified(self, error: BaseException, policy: AgentPolicy) -> Failure:
        if isinstance(error, InputMismatch):
            return own_failures.invalid_input(error.field, error.rule)
        return classify(error, now=self._clock.wall(), llm_upstream=policy.upstream is not None)

    # --- telling ----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _supervised(
        self, assignment: Assignment
    ) -> AsyncIterator[tuple[Task, Reporter, asyncio.Event]]:
        """Give an attempt its task to speak to, and a reporter that passes on what it says."""
        loop = asyncio.get_running_loop()
        waiting, over = asyncio.Event(), asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(waiting.set)

        pieces = Pieces(
            task_id=assignment.task_id,
            attempt=assignment.attempt,
            # One more than is preserved, so that what is let go of here is missed there.
            chars_max=self._settings.partial_bytes_task + 1,
            wake=wake,
        )
        task = Task(assignment, pieces=pieces, step_bytes_max=self._settings.partial_bytes_task)
        known = self._over[assignment.task_id] = over, pieces
        reporter = Reporter(assignment, pieces, self._listener, self._clock)
        teller = asyncio.ensure_future(self._tell(pieces, reporter, waiting))
        try:
            yield task, reporter, over
        finally:
            # The next attempt may have begun while this one was being stopped.
            if self._over.get(assignment.task_id) is known:
                del self._over[assignment.task_id]
            pieces.close()
            teller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await teller

    async def _tell(self, pieces: Pieces, reporter: Reporter, waiting: asyncio.Event) -> None:
        while True:
            await waiting.wait()
            waiting.clear()
            while (piece := pieces.take()) is not None:
                try:
                    await reporter.tell(piece)
                except StaleTerm:
                    return
                except RequestError:
                    logger.exception("task %s: a piece was not told", reporter.task_id)
                await self._clock.sleep(TELL_EVERY_S)

    async def _clean(
        self,
        task: Task,
        reporter: Reporter,
        hooks: Sequence[Function],
        still_running: str | None,
    ) -> None:
        cleaned = await clean(task, hooks, threads=self.threads, still_running=still_running)
        if cleaned:
            await reporter.cleaned(cleaned)

    # --- calling ----------------------------------------------------------------------------

    async def _call(self, function: Callable[..., Any], task: Task) -> Any:
        arguments = _arguments(function, task)
        try:
            if inspect.isasyncgenfunction(function):
                return await _drained(function(*arguments.args, **arguments.kwargs), task)
            if _is_async(function):
                return await function(*arguments.args, **arguments.kwargs)
            result = await self.threads.run(
                lambda: _called(function, arguments, task), name=_thread_of(task)
            )
            # What does not look async may be: a lambda, a decorated function.
            return await result if inspect.isawaitable(result) else result
        except (SystemExit, KeyboardInterrupt) as error:
            # An agent that exits has failed; it does not take the gateway with it.
            raise RuntimeError(f"the agent raised {type(error).__name__}") from error

    async def _stopped(
        self, running: asyncio.Future[Any], function: Callable[..., Any], task: Task
    ) -> str | None:
        """Stop what still runs; returns its name when it does not stop."""
        name = getattr(function, "__name__", "agent")
        if not running.done():
            running.cancel()
            await asyncio.wait({running}, timeout=CANCEL_GRACE_S)
            running.add_done_callback(_seen)
        if not running.done():
            return f"coroutine: {name}"
        return f"thread: {name}" if self.threads.runs(_thread_of(task)) else None


async def _ended(supervised: contextlib.AsyncExitStack, end: Awaitable[None]) -> None:
    """Tell the end of a block, and supervise it no more."""
    async with supervised:
        with contextlib.suppress(StaleTerm, Conflict):
            await end


def _thread_of(task: Task) -> str:
    return f"task {task.task_id} attempt {task.attempt}"


class InputMismatch(InvalidInput):
    """The input does not fit the agent's parameters."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field} is {rule}")
        self.field = field
        self.rule = rule


def _is_async(function: Callable[..., Any] | None) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _arguments(function: Callable[..., Any], task: Task) -> inspect.BoundArguments:
    """
    Fit a task's input to the agent's parameters: an object's members become keywords.

    Raises:
        InputMismatch: If they do not fit.
    """
    signature = inspect.signature(function)
    given = task.input
    try:
        if isinstance(given, dict):
            return signature.bind(task, **given)
        return signature.bind(task) if given is None else signature.bind(task, given)
    except TypeError as error:
        # The names of parameters are the agent's own; what the user wrote is not repeated.
        missing = [
            name
            for name, parameter in list(signature.parameters.items())[1:]
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            and not (isinstance(given, dict) and name in given)
        ]
        raise InputMismatch(
            missing[0] if missing else "input", "required" if missing else "unexpected"
        ) from error


async def _drained(items: AsyncGenerator[Any, None], task: Task) -> Any:
    """Keep each item as it comes: text is appended, everything else is a step."""
    collected: list[Any] = []
    async with contextlib.aclosing(items):
        async for item in items:
            _keep(item, len(collected), task)
            collected.append(item)
    return _joined(collected)


def _called(function: Callable[..., Any], arguments: inspect.BoundArguments, task: Task) -> Any:
    result = function(*arguments.args, **arguments.kwargs)
    if not inspect.isgenerator(result):
        return result
    collected: list[Any] = []
    for item in result:
        _keep(item, len(collected), task)
        collected.append(item)
    return _joined(collected)


def _keep(item: Any, number: int, task: Task) -> None:
    if isinstance(item, str):
        task.append(item)
    else:
        task.preserve(f"item-{number + 1}", item)


def _joined(items: list[Any]) -> Any:
    return "".join(items) if all(isinstance(item, str) for item in items) else items


def _error_of(running: asyncio.Future[Any]) -> BaseException | None:
    return asyncio.CancelledError() if running.cancelled() else running.exception()


def _seen(running: asyncio.Future[Any]) -> None:
    """Look at a late end, so that asyncio does not warn of an exception that was not read."""
    if not running.cancelled() and (error := running.exception()) is not None:
        logger.info("an agent raised %s after its end", type(error).__name__)
