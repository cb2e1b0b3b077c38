"""
The gateway as a program sees it: declare agents, submit tasks, wrap code, serve an app.

    gateway = Gateway()

    @gateway.agent("researcher", timeout=30.0)
    async def research(task: Task, question: str) -> str:
        ...
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from gateway.app.clock import SystemClock
from gateway.app.one_process import alone_in_its_server
from gateway.app.settings import read_settings
from gateway.attempts.agents import Agents, Declared, home_of
from gateway.attempts.demands import demands_of
from gateway.attempts.loop_watch import LoopWatch
from gateway.attempts.spans import current_traceparent
from gateway.attempts.task import Task
from gateway.domain.agent import AgentPolicy
from gateway.domain.errors import ConfigurationError, TaskFailed
from gateway.domain.names import is_name
from gateway.domain.packed import opened
from gateway.domain.settings import Settings
from gateway.domain.task import view
from gateway.domain.taught import rule

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.routing import BaseRoute

    from gateway.execution.engine import Engine

__all__ = ["Gateway", "Handle"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

LOCAL_USER = "local"


class Handle:
    """A task that was submitted here."""

    def __init__(self, engine: Engine, task_id: str) -> None:
        self._engine = engine
        self.task_id = task_id

    def __repr__(self) -> str:
        return f"<Handle {self.task_id}>"

    async def result(self) -> Any:
        """
        Wait for the task's end and give its result.

        Cancelling ends the wait, not the task.

        Raises:
            TaskFailed: If it ended without success.
        """
        task = await self._engine.parts.ends.of(self.task_id)
        if task.status != "succeeded":
            raise TaskFailed(task.task_id, task.status, task.last_error)
        return opened(task.result)

    async def status(self) -> dict[str, Any]:
        """Give the task as ``task.get`` would."""
        return view(self._engine.parts.state.tasks[self.task_id])


class Gateway:
    """
    One gateway: agents, what is known of their tasks, and the doors to it.

    Args:
        settings: How it behaves; None: as the environment says (``GATEWAY_*``).

    Attributes:
        agents: Those that were declared with ``agent``.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self.agents = Agents()
        self._running = False

    # --- declaring --------------------------------------------------------------------------

    def agent(
        self,
        name: str,
        *,
        timeout: float = 30.0,
        max_attempts: int | None = None,
        fallback: Callable[..., Any] | None = None,
        cleanup: Sequence[Callable[..., Any]] = (),
        upstream: str | None = None,
        breaker: str | None = None,
        features: Sequence[str] = (),
        capabilities: Sequence[str] = (),
        exclude: type[BaseException] | Sequence[type[BaseException]] = (),
        accept: Callable[[Any], Any] | Mapping[str, Any] | None = None,
        idle_timeout: float | None = None,
        isolation: Literal["process"] | None = None,
    ) -> Callable[[F], F]:
        """
        Declare a function as an agent; it stays callable as it is.

        Args:
            name: The agent's name.
            timeout: Limit of one attempt, in seconds.
            max_attempts: Attempts at a task, the first included; None: the setting's.
            fallback: Answers, with the same arguments, when the agent cannot; None: nothing does.
            cleanup: Callables ``f(task)``, sync or async, called after each attempt.
            upstream: The model service it calls: shares a retry budget, and names its timeouts.
            breaker: Agents that name the same breaker share it; None: one of its own.
            features: What users lose while it is away.
            capabilities: What it can be asked for instead of by name.
            exclude: Exceptions that are the fault of the input: told as ``invalid_input``, not
                retried, and not counted against the agent. A block's, too.
            accept: What results have to meet: a function ``f(result)`` that says whether one will
                do, or a JSON Schema. Another result is an ``unacceptable_result`` and retried.
            idle_timeout: Seconds without a piece and without progress after which an attempt, or a
                block, is ``stalled``, beside ``timeout`` for the whole; None: any number.
            isolation: ``"process"``: each attempt, a fallback's too, runs in a process of its own,
                which imports this module, and is killed at its limit, when the task is cancelled,
                and in the end, with all that it has started. None: in the process that declares it.

        Raises:
            ConfigurationError: If the name is taken, a value is out of bounds, or an isolated
                agent could not be found by another process.
        """
        declared_in = sys._getframe(1).f_globals.get("__name__", "__main__")

        def declare(function: F) -> F:
            _require_task_first(name, function)
            if fallback is not None:
                _require_task_first(name, fallback)
            for field, value in (("name", name), ("upstream", upstream), ("breaker", breaker)):
                if value is not None and not is_name(value):
                    raise ConfigurationError(
                        f"agent {name!r}: {field} has to be 1 to 128 of A-Z a-z 0-9 . _ ~ @ : -"
                    )
            if max_attempts is not None and max_attempts < 1:
                raise ConfigurationError(f"agent {name}: max_attempts has to be at least 1")
            policy = AgentPolicy(
                name,
                timeout_s=timeout,
                max_attempts=max_attempts or 0,
                fallback=None if fallback is None else _name_of(fallback),
                upstream=upstream,
                breaker=breaker or "",
                features=tuple(features),
                capabilities=tuple(capabilities),
            )
            demands = demands_of(name, exclude=exclude, accept=accept, idle_timeout=idle_timeout)
            if isolation not in (None, "process"):
                raise ConfigurationError(f'agent {name}: isolation has to be "process" or None')
            home = home_of(name, function, declared_in=declared_in) if isolation else None
            self.agents.declare(Declared(policy, function, fallback, tuple(cleanup), demands, home))
            return function

        return declare

    def classify(
        self,
        which: type[BaseException] | Callable[[BaseException], object],
        *,
        error_code: str,
        error_type: str | None = None,
        retry_after: float | Callable[[BaseException], object] | None = None,
        retryable: bool | None = None,
    ) -> Callable[[T], T]:
        """
        Teach the gateway how an exception is named; it may also stand above a function or class.

        Args:
            which: A class of exceptions, or a predicate that is asked about each exception of a
                chain. It holds for all agents, also where workers run them.
            error_code: A code of the table, or one of your own: ``[a-z][a-z0-9_]{0,63}``.
            error_type: The class of failure; None: the code's own; of your own codes
                ``service_unavailable`` when retried, else ``processing_error``.
            retry_after: Seconds, or a function of the exception; None: its own ``retry_after``.
            retryable: Whether the gateway tries again by itself; None: as code and type have it.

        Raises:
            ConfigurationError: If a value is not possible, or the verdict is not the code's.
        """
        self.agents.taught.add(
            rule(
                which,
                error_code=error_code,
                error_type=error_type,
                retry_after=retry_after,
                retryable=retryable,
            )
        )
        return lambda declared: declared

    # --- asking -----------------------------------------------------------------------------

    async def submit(
        self,
        agent: str,
        input: Any = None,
        *,
        user_id: str = LOCAL_USER,
        priority: int = 5,
        timeout: float | None = None,
        max_attempts: int | None = None,
        correlation_id: str | None = None,
        idempotency_key: str | None = None,
    ) -> Handle:
        """
        Ask an agent to do something.

        Args:
            agent: Its name.
            input: As JSON; an object becomes the function's keyword arguments.
            user_id: The task's owner.
            priority: 0 (critical) to 10 (sheddable).
            timeout: The caller's own deadline in seconds, waiting included; None: 300.
            max_attempts: None: as the agent is declared.

        Raises:
            Rejected: If it is not taken now: breaker open, queue full, leaving.
            InvalidParams, TooLarge: If the input cannot be taken.
        """
        self._require_running()
        params = {
            "agent": agent,
            "user_id": user_id,
            "priority": priority,
            "timeout": timeout,
            "max_attempts": max_attempts,
            "correlation_id": correlation_id,
            "idempotency_key": idempotency_key,
        }
        self._check(params)
        acceptance = self.engine.parts.acceptance
        order = acceptance.order(
            agent,
            input=input,
            user_id=user_id,
            priority=priority,
            timeout=timeout,
            max_attempts=max_attempts,
            correlation_id=correlation_id,
            traceparent=current_traceparent(),
            idempotency_key=idempotency_key,
        )
        task = await acceptance.submit(order)
        return Handle(self.engine, task.task_id)

    @contextlib.asynccontextmanager
    async def attempt(
        self,
        agent: str,
        *,
        user_id: str = LOCAL_USER,
        input: Any = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Task]:
        """
        Supervise the code in the block, which already runs elsewhere, as one attempt.

        Errors, partial results, breaker and events as for any task, without the queue and
        without retries. What the block raises is told and raised on; cancelling it cancels the
        task. Set ``task.result`` for a result.

        While the store is away no block begins. One that ends then waits for it up to 5 s and goes
        on; its end is told by the gateway when the store is back, a second later at the most. When
        the process ends before, other nodes say that it was lost; the task's deadline is the last
        bound.

        Args:
            agent: The agent that this is; it need not be declared.
            user_id: The user that it concerns.
            input: As JSON; what it works on, to be seen with the task.
            timeout: Limit of the block, in seconds; None: the agent's.

        Raises:
            Rejected: If the agent's breaker is open, or the gateway is leaving.
            InvalidParams, TooLarge: If what is given cannot be taken.
            TimeoutError: If the block ran into its limit.
        """
        self._require_running()
        self._check({"agent": agent, "user_id": user_id, "timeout": timeout})
        async with self.engine.parts.blocks.attempt(
            agent, user_id=user_id, input=input, timeout_s=timeout
        ) as task:
            yield task

    # --- serving ----------------------------------------------------------------------------

    @functools.cached_property
    def engine(self) -> Engine:
        """The inside; made at first use, with the settings of that moment."""
        # Only here: a worker declares its agents with a gateway, too, and has none of this.
        from gateway.app.build import build_engine

        return build_engine(self.settings, self.agents)

    @property
    def settings(self) -> Settings:
        """How it behaves."""
        if self._settings is None:
            self._settings = read_settings(os.environ)
        return self._settings

    def configure(self, settings: Settings) -> None:
        """
        Set how it behaves, before it is used.

        Raises:
            ConfigurationError: If it is in use already.
        """
        if "engine" in self.__dict__:
            raise ConfigurationError("the gateway is in use, its settings are fixed")
        self._settings = settings

    @functools.cached_property
    def app(self) -> Starlette:
        """
        The gateway as an ASGI application.

        Served alone it starts itself; mounted in another application it needs that one's
        ``lifespan=gateway.lifespan``, and answers 503 with this advice until it has it.
        """
        return self.make_app()

    def make_app(self, *, extra_routes: Sequence[BaseRoute] = ()) -> Starlette:
        """Make the application, with more routes that are looked at before the gateway's own."""
        from gateway.app.build import frontend_dir
        from gateway.transports.application import create_app

        settings = self.settings
        return create_app(
            self.engine,
            settings,
            frontend_dir(),
            open_gateway=settings.open,
            lifespan=self._life,
            extra_routes=extra_routes,
        )

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Any = None) -> AsyncIterator[None]:
        """
        Run the gateway: as the lifespan of the application it is mounted in, or around any code.

        At its end open tasks are ended, as the log of this process ends with it.
        """
        from gateway.transports.application import running

        async with running(self.app), self._life(app):
            yield

    @contextlib.asynccontextmanager
    async def _life(self, app: Any) -> AsyncIterator[None]:
        """Run timers and agents; what ``app`` needs besides, it brings along when served alone."""
        in_memory = self.settings.store == "memory"
        alone = alone_in_its_server() if in_memory else contextlib.nullcontext()
        watch = LoopWatch(SystemClock())
        self._running = True
        try:
            watch.start()
            with alone:
                async with self.engine.running():
                    yield
                    await self.engine.drain()
        finally:
            watch.stop()
            self._running = False

    def _check(self, params: Mapping[str, Any]) -> None:
        given = {name: value for name, value in params.items() if value is not None}
        self.engine.check_params("task.create", given)

    def _require_running(self) -> None:
        if not self._running:
            raise ConfigurationError(
                "the gateway does not run: give your application lifespan=gateway.lifespan, "
                "or use `async with gateway.lifespan():`"
            )


def _name_of(fallback: Callable[..., Any]) -> str:
    """A name for events, whatever the function is called: a lambda is called `<lambda>`."""
    name = getattr(fallback, "__name__", "")
    return re.sub(r"[^A-Za-z0-9._~@:-]", "", name)[:128] or "fallback"


def _require_task_first(agent: str, function: Callable[..., Any]) -> None:
    """Refuse what could never be called: the task is the first argument, the input follows."""
    try:
        inspect.signature(function).bind_partial(object())
    except TypeError as error:
        called = getattr(function, "__name__", "the function")
        raise ConfigurationError(
            f"agent {agent}: {called} has to take the task as its first argument, "
            f"such as `def {called}(task, question)`"
        ) from error
    except ValueError:
        return  # a builtin that does not say what it takes
