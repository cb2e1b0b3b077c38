"""
A worker: registers, says that it lives, takes tasks, keeps their leases, and leaves in order.

It registers once on each connection, and everything else that it calls goes over that one.

What a claim is worked on with is the caller's. The rule: whoever has lost its task is told so
once, and says nothing more about it. A connection that breaks costs nothing by itself: what
runs goes on, and what there is to tell waits until the gateway is there again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.client.calls import Calls
from gateway.client.connection import Connection
from gateway.client.errors import CallFailed, Disconnected
from gateway.client.http_calls import HttpCalls
from gateway.domain.errors import GatewayError, StaleTerm
from gateway.worker.loop_lag import LoopLag
from gateway.worker.pause import pause

__all__ = ["Claim", "Identity", "Worker"]

logger = logging.getLogger(__name__)

Claim = Mapping[str, Any]

# How long one claim waits for work; its connection is looked at more often, by the heartbeats.
CLAIM_WAIT_S = 20.0
# An answer is given up this long after it was due.
ANSWER_WAIT_S = 10.0
# Between two tries of what was refused without a time.
PAUSE_S = 0.5
LOST_PAUSE_S = 0.05
# What there is to tell of a task waits this long for a gateway that is away: as long as a task
# has, unless its caller says otherwise. Later nobody waits for it.
TELL_WITHIN_S = 300.0
# How long attempts have to stop once their time is over; then the worker leaves without them.
STOP_WAIT_S = 3.0
# Of a frame, beside the parameters.
FRAME_ROOM_BYTES = 512
FRAME_BYTES_DEFAULT = 65_536

# The gateway does not know the task, or says that somebody else has it.
_LOST = frozenset({"stale_term", "not_found", "conflict"})


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """Who a worker is, and its proof."""

    agent_id: str
    agent_secret: str = dataclasses.field(repr=False)

    def as_dict(self) -> dict[str, str]:
        """As every call carries it."""
        return {"agent_id": self.agent_id, "agent_secret": self.agent_secret}


class Worker:
    """
    One worker of one gateway.

    Args:
        url: ``ws://127.0.0.1:8000/ws``.
        token: With scope ``agent``; None: an open gateway.
        handle: What the workers of one kind are called.
        agents: What it does, as ``agent.register`` takes it.
        capabilities: What it can be asked for instead.
        domain: Its failure domain; None: none.
        concurrency: Claims that are worked on at once.
        make: Works on a claim; what it tells goes through ``report``.
        lost: Called with a task_id when the gateway says that the task is no longer ours.
        has_room: Whether a claim could be worked on now; ``look`` when that may have changed.
        identity: To come back as; None: a new worker.
        kept: Whether somebody else answers for a task and term that the gateway takes this worker
            to hold, and that it does not know; every other such is given back.
        on_registered: Called each time the gateway has accepted it.
        on_notice: As for ``Connection``.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        handle: str,
        agents: Sequence[Mapping[str, Any]],
        capabilities: Sequence[str] = (),
        domain: str | None = None,
        concurrency: int = 1,
        make: Callable[[Claim], Awaitable[None]],
        lost: Callable[[str], None],
        has_room: Callable[[], bool] = lambda: True,
        identity: Identity | None = None,
        kept: Callable[[str, int], bool] = lambda task_id, term: False,
        on_registered: Callable[[Identity], None] = lambda identity: None,
        on_notice: Callable[[str, Any], None] = lambda name, about: None,
    ) -> None:
        self.identity = identity
        self._about = {
            "handle": handle,
            "agents": list(agents),
            "capabilities": list(capabilities),
        } | ({} if domain is None else {"domain": domain})
        self._concurrency = concurrency
        self._make = make
        self._lost = lost
        self._has_room = has_room
        self._kept = kept
        self._on_registered = on_registered
        self._connection = Connection(url, token=token, client="gateway work", on_notice=on_notice)
        self._http = HttpCalls(url, token=token)
        self._lag = LoopLag()
        self._beat_every_s = self._renew_every_s = 0.0
        self._running: dict[str, asyncio.Task[None]] = {}
        self._claims: dict[str, Claim] = {}
        self._registered = asyncio.Event()
        # Over the connection on which it registered, and over no other.
        self._calls: Calls | None = None
        self._leaving = asyncio.Event()
        self._leave_by = 0.0
        self._goodbye = True
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """
        Work until told to leave; cancelling leaves without a word.

        Raises:
            Refused: If the gateway does not want this client.
            CallFailed: If it may not register.
        """
        self._lag.start()
        try:
            async with self._connection, asyncio.TaskGroup() as group:
                jobs = [
                    group.create_task(self._stay_registered()),
                    group.create_task(self._beat()),
                    group.create_task(self._take_claims(group)),
                ]
                await self._leaving.wait()
                await self._finish()
                for job in jobs:
                    job.cancel()
        except BaseExceptionGroup as errors:
            raise _first_of(errors) from errors
        finally:
            self._lag.stop()

    def leave(self, grace_s: float, *, goodbye: bool = True) -> None:
        """
        Take nothing more, finish within ``grace_s``, give back what is left, and go.

        Said again, the earlier end counts.

        Args:
            grace_s: Seconds that running attempts have.
            goodbye: Whether the gateway is told that this worker does not come back.
        """
        by = asyncio.get_running_loop().time() + grace_s
        self._leave_by = min(by, self._leave_by) if self._leaving.is_set() else by
        self._goodbye = self._goodbye and goodbye
        self._leaving.set()
        self.look()

    def look(self) -> None:
        """Something has changed: perhaps there is room now."""
        self._changed.set()

    async def report(self, method: str, claim: Claim, params: Mapping[str, Any]) -> Any:
        """
        Tell the gateway about a claim; waits for a gateway that is away, up to 300 s.

        Without an answer it is said again, so that it has to be harmless when it is heard twice.

        Raises:
            StaleTerm: If the task is no longer ours.
            CallFailed: If it is refused for another reason.
        """
        task_id = claim["task_id"]
        whole = {**params, "task_id": task_id, "term": claim["term"]}
        try:
            async with asyncio.timeout(TELL_WITHIN_S):
                while True:
                    try:
                        return await self.call(method, whole)
                    except (Disconnected, TimeoutError):
                        pause_s = LOST_PAUSE_S
                    except CallFailed as error:
                        if error.code in _LOST:
                            self._lost(task_id)
                            raise StaleTerm(error.message) from error
                        if error.retry_after is None:
                            raise
                        pause_s = error.retry_after
                    await pause(pause_s)
        except TimeoutError as error:
            self._lost(task_id)
            raise StaleTerm(f"task {task_id}: nobody was there to be told") from error

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
                # Whoever tries again waits until this worker is registered again.
                if self._calls.lost.is_set():
                    self._registered.clear()
                raise

    @property
    def _frame_bytes(self) -> int:
        limits = (self._connection.hello or {}).get("limits", {})
        return int(limits.get("frame_bytes", FRAME_BYTES_DEFAULT))

    # --- being there ------------------------------------------------------------------------

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
        # At a third of its length at the latest. With each beat, so that one who has lost its
        # task, by a cancellation perhaps, does not work on for long.
        self._renew_every_s = min(self._beat_every_s, float(answer.get("lease_ttl", 60.0)) / 3)
        for held in answer.get("tasks", ()):
            await self._give_up(calls, held["task_id"], held["term"])
        self._on_registered(self.identity)

    async def _give_up(self, calls: Calls, task_id: str, term: int) -> None:
        """Give back what is thought to be held here and is not: it got lost on its way."""
        known = self._claims.get(task_id)
        if self._kept(task_id, term) or (known is not None and known["term"] == term):
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
            status = "busy" if self._running else "idle"
            status = "draining" if self._leaving.is_set() else status
            beat = {"status": status, "loop_lag": self._lag.take()}
            # Two beats without an answer: the connection is only there to look at.
            silence_s = 2 * self._beat_every_s
            try:
                answer = await self.call("agent.heartbeat", beat, timeout=silence_s)
            except TimeoutError:
                await self._connection.drop()
            except Disconnected:
                continue
            except CallFailed as error:
                await self._refused(error)
            else:
                if (asked := answer.get("shutdown")) and not self._leaving.is_set():
                    self.leave(float(asked["grace"]))
                    continue  # and say at once that it is draining
            await pause(self._beat_every_s)

    async def _refused(self, error: CallFailed) -> None:
        """A gateway that does not know this worker has forgotten it: begin anew."""
        if error.code in ("not_found", "not_permitted") and self._registered.is_set():
            self._registered.clear()
            await self._connection.drop()

    # --- working ----------------------------------------------------------------------------

    async def _take_claims(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while not self._leaving.is_set():
            if len(self._running) >= self._concurrency or not self._has_room():
                self._changed.clear()
                await self._changed.wait()
                continue
            await self._registered.wait()
            asked_at = loop.time()
            try:
                claim = await self.call(
                    "task.claim", {"wait": CLAIM_WAIT_S}, timeout=CLAIM_WAIT_S + ANSWER_WAIT_S
                )
            except Disconnected:
                continue
            except TimeoutError:
                # Whatever it still answers nobody would take; what was given is given back when
                # this worker registers again.
                await self._connection.drop()
                continue
            except CallFailed as error:
                await self._refused(error)
                await pause(error.retry_after or PAUSE_S)
                continue
            if claim is None:
                if loop.time() - asked_at < PAUSE_S:
                    await pause(PAUSE_S)
            elif self._leaving.is_set():
                await self._give_back(claim)
            else:
                earlier = self._running.get(claim["task_id"])
                job = group.create_task(self._work(claim, earlier))
                self._running[claim["task_id"]] = job
                self._claims[claim["task_id"]] = claim

    async def _work(self, claim: Claim, earlier: asyncio.Task[None] | None) -> None:
        task_id = claim["task_id"]
        renewing = asyncio.create_task(self._renew(claim))
        try:
            if earlier is not None:
                # An attempt that has lost this task is still being stopped here.
                await asyncio.wait({earlier})
            await self._make(claim)
        except Exception:
            logger.exception("task %s: the attempt could not be made", task_id)
            report = {"error_type": "internal_error", "message": "the worker made a mistake"}
            with contextlib.suppress(GatewayError):
                await self.report("task.fail", claim, report)
        finally:
            renewing.cancel()
            if self._running.get(task_id) is asyncio.current_task():
                del self._running[task_id], self._claims[task_id]
            self.look()

    async def _renew(self, claim: Claim) -> None:
        while True:
            await pause(self._renew_every_s)
            try:
                await self.report("task.heartbeat", claim, {})
            except StaleTerm:
                return
            except CallFailed as error:
                logger.warning("task %s: lease not renewed: %s", claim["task_id"], error)

    async def _give_back(self, claim: Claim) -> None:
        with contextlib.suppress(CallFailed, Disconnected, TimeoutError):
            await self.call("task.release", {"task_id": claim["task_id"], "term": claim["term"]})

    # --- leaving ----------------------------------------------------------------------------

    async def _finish(self) -> None:
        if self._registered.is_set():
            with contextlib.suppress(CallFailed, Disconnected, TimeoutError):
                await self.call("agent.heartbeat", {"status": "draining"}, timeout=1.0)
        while self._running:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(self._leave_by):
                    await self._changed.wait()
            except TimeoutError:
                break
        jobs, claims = list(self._running.values()), list(self._claims.values())
        for claim in claims:
            # Stopped first: what is said of a task that was given back would be refused.
            self._lost(claim["task_id"])
        if jobs:
            await asyncio.wait(jobs, timeout=STOP_WAIT_S)
        if not self._registered.is_set():
            return  # Nobody is there to be told; they notice that it is gone.
        for claim in claims:
            await self._give_back(claim)
        if self._goodbye:
            with contextlib.suppress(CallFailed, Disconnected, TimeoutError):
                await self.call("agent.remove", {}, timeout=STOP_WAIT_S)


def _first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a group of errors is about: one that ends the worker, not those that it ended."""
    for error in errors.exceptions:
        return _first_of(error) if isinstance(error, BaseExceptionGroup) else error
    return errors
