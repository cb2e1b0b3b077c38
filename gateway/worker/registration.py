"""
A worker's registration with its gateway: made anew on each connection, kept alive by heartbeats.

The rule: the worker registers once on each connection, and whatever it calls goes over the
connection on which it is registered, over no other. A connection that breaks costs nothing by
itself: calls wait until the worker is registered again, as the same worker if the gateway
still knows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import orjson

from gateway.client.calls import Calls
from gateway.client.connection import Connection
from gateway.client.errors import CallFailed, Disconnected
from gateway.client.http_calls import HttpCalls
from gateway.domain.diagnostics import logger_of
from gateway.worker.loop_lag import LoopLag
from gateway.worker.pause import pause

__all__ = ["ANSWER_WAIT_S", "Identity", "Registration"]

logger = logger_of(__name__)

# An answer is given up this long after it was due.
ANSWER_WAIT_S = 10.0
# A connection counts as dead after this many beats without an answer.
BEATS_UNANSWERED = 2
# The shortest lease is renewed this many times in its length, so that one renewal may fail.
RENEWALS_PER_LEASE = 3
# The length of a lease if the gateway does not say it, in seconds.
LEASE_S_DEFAULT = 60.0
# What a frame holds beside the parameters of a call, at the most.
FRAME_ROOM_BYTES = 512
# The size of a frame if the gateway does not say it.
FRAME_BYTES_DEFAULT = 65_536


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """A worker's id, and the secret that proves it."""

    agent_id: str
    agent_secret: str = dataclasses.field(repr=False)

    def as_dict(self) -> dict[str, str]:
        """Give both as every call carries them."""
        return {"agent_id": self.agent_id, "agent_secret": self.agent_secret}


class Registration:
    """
    One worker's registration with one gateway. A context manager, which opens the connection.

    More than eight arguments: what a worker is, and what its claims have to hear of it.

    Args:
        url: ``ws://127.0.0.1:8000/ws``.
        token: With scope ``agent``; None: an open gateway.
        about: What ``agent.register`` is told of the worker, without its identity.
        identity: To come back as; None: a new worker.
        status: Gives what the next heartbeat says: ``idle``, ``busy`` or ``draining``.
        holds: Whether this side answers for a task and term that the gateway takes the worker
            to hold. What it does not answer for never arrived here, and is given back.
        on_registered: Called each time the gateway has accepted the worker.
        on_shutdown: Called with the seconds of grace when the gateway asks the worker to leave.
        on_notice: As for ``Connection``.

    Attributes:
        identity: As the gateway knows the worker; None before it was first accepted.
        renew_every_s: How often the lease of a held task is to be renewed, in seconds; 0 before
            the worker was first accepted.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        about: Mapping[str, Any],
        identity: Identity | None,
        status: Callable[[], str],
        holds: Callable[[str, int], bool],
        on_registered: Callable[[Identity], None],
        on_shutdown: Callable[[float], None],
        on_notice: Callable[[str, Any], None],
    ) -> None:
        self.identity = identity
        self.renew_every_s = 0.0
        self._beat_every_s = 0.0
        self._about = about
        self._status = status
        self._holds = holds
        self._on_registered = on_registered
        self._on_shutdown = on_shutdown
        self._connection = Connection(url, token=token, client="gateway work", on_notice=on_notice)
        self._http = HttpCalls(url, token=token)
        self._lag = LoopLag()
        self._registered = asyncio.Event()
        # Of the connection on which the worker is registered.
        self._calls: Calls | None = None

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        self._lag.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lag.stop()
        await self._connection.__aexit__(kind, error, trace)

    @property
    def beat_every_s(self) -> float:
        """How often a beat is due, in seconds; 0 before the worker was first accepted."""
        return self._beat_every_s

    @property
    def registered(self) -> bool:
        """Whether the worker is registered on a connection that is not known to be lost."""
        return self._registered.is_set()

    async def wait_registered(self) -> None:
        """Wait until the worker is registered."""
        await self._registered.wait()

    async def keep(self) -> None:
        """
        Register on each connection and send heartbeats, until cancelled.

        Raises:
            Refused: If the gateway does not want this client.
            CallFailed: If the worker may not register.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay_registered())
            group.create_task(self._beat())

    async def call(
        self, method: str, params: Mapping[str, Any], *, timeout: float = ANSWER_WAIT_S
    ) -> Any:
        """
        Call an operation as this worker, once it is registered; see ``Connection.call``.

        What is too large for a frame goes over HTTP.
        """
        async with asyncio.timeout(timeout):
            await self._registered.wait()
            assert self.identity is not None
            assert self._calls is not None
            whole = {**params, **self.identity.as_dict()}
            if len(orjson.dumps(whole)) > self._frame_bytes - FRAME_ROOM_BYTES:
                return await self._http.call(method, whole, timeout=timeout)
            try:
                return await self._calls.ask(method, whole)
            except Disconnected:
                # A caller that tries again then waits until the worker is registered again.
                if self._calls.lost.is_set():
                    self._registered.clear()
                raise

    async def ask(self, method: str, params: Mapping[str, Any]) -> Any:
        """Call an operation that needs no registration; see ``Connection.call``."""
        return await self._connection.call(method, params, timeout=ANSWER_WAIT_S)

    async def drop(self) -> None:
        """Give up a connection that gives no answers; another is opened in its place."""
        await self._connection.drop()

    async def register_again_if_unknown(self, refusal: CallFailed) -> None:
        """Register anew if ``refusal`` says that the gateway no longer knows this worker."""
        if refusal.code in ("not_found", "not_permitted") and self._registered.is_set():
            self._registered.clear()
            await self._connection.drop()

    @property
    def _frame_bytes(self) -> int:
        limits = (self._connection.hello or {}).get("limits", {})
        return int(limits.get("frame_bytes", FRAME_BYTES_DEFAULT))

    async def _stay_registered(self) -> None:
        while True:
            calls = await self._connection.opened()
            try:
                await self._register(calls)
            except Disconnected:
                continue
            except TimeoutError:
                await self._connection.drop()
                continue
            self._calls = calls
            self._registered.set()
            await calls.lost.wait()
            self._registered.clear()

    async def _register(self, calls: Calls) -> None:
        proof = {} if self.identity is None else self.identity.as_dict()
        while True:
            try:
                async with asyncio.timeout(ANSWER_WAIT_S):
                    answer = await calls.ask("agent.register", {**self._about, **proof})
            except CallFailed as error:
                if error.retry_after is not None:
                    await pause(error.retry_after)
                elif proof and error.code in ("not_permitted", "not_found", "conflict"):
                    logger.warning("the gateway does not know this worker, it registers anew")
                    proof = {}
                else:
                    raise
                continue
            break
        self.identity = Identity(answer["agent_id"], answer["agent_secret"])
        self._beat_every_s = float(answer["heartbeat_interval"])
        # With each beat at least, so that a worker which has lost its task, perhaps because the
        # task was cancelled, hears of it soon.
        lease_s = float(answer.get("lease_ttl", LEASE_S_DEFAULT))
        self.renew_every_s = min(self._beat_every_s, lease_s / RENEWALS_PER_LEASE)
        for held in answer.get("tasks", ()):
            await self._give_back_unless_held(calls, held["task_id"], held["term"])
        self._on_registered(self.identity)

    async def _give_back_unless_held(self, calls: Calls, task_id: str, term: int) -> None:
        if self._holds(task_id, term):
            return
        logger.warning("task %s never arrived here, it is given back", task_id)
        assert self.identity is not None
        told = {"task_id": task_id, "term": term, **self.identity.as_dict()}
        with contextlib.suppress(CallFailed):
            async with asyncio.timeout(ANSWER_WAIT_S):
                await calls.ask("task.release", told)

    async def _beat(self) -> None:
        while True:
            await self._registered.wait()
            beat = {"status": self._status(), "loop_lag": self._lag.take()}
            silence_s = BEATS_UNANSWERED * self._beat_every_s
            try:
                answer = await self.call("agent.heartbeat", beat, timeout=silence_s)
            except TimeoutError:
                await self._connection.drop()
            except Disconnected:
                continue
            except CallFailed as error:
                await self.register_again_if_unknown(error)
            else:
                if (asked := answer.get("shutdown")) and self._status() != "draining":
                    self._on_shutdown(float(asked["grace"]))
                    continue  # and say at once that it is draining
            await pause(self._beat_every_s)
