"""
A worker's claims: it takes tasks, keeps their leases, reports on them, and leaves in order.

What a claim is worked on with is the caller's. The rule: a worker that has lost a task is told
so once, and says nothing more about it. While the gateway is away the attempts go on, and their
reports wait until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gateway.client.errors import CallFailed, Disconnected
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import GatewayError, StaleTerm
from gateway.worker.pause import pause
from gateway.worker.registration import ANSWER_WAIT_S, Identity, Registration

__all__ = ["Claim", "Claimer"]

logger = logger_of(__name__)

# The answer to ``task.claim``: a task, its term, and what earlier attempts left.
Claim = Mapping[str, Any]

# How long one claim waits for work; meanwhile the heartbeats look after the connection.
CLAIM_WAIT_S = 20.0
# Between two tries of a claim that was refused without a time, or answered at once with nothing.
PAUSE_S = 0.5
# Before a report is tried again after its connection was lost.
LOST_PAUSE_S = 0.05
# How long a report waits for a gateway that is away: as long as a task has, unless its caller
# says otherwise. A later report would be about a task that has ended.
TELL_WITHIN_S = 300.0
# How long attempts have to stop once the grace is over; then their tasks are given back.
STOP_WAIT_S = 3.0
# How long a leaving worker waits for the answer to its last heartbeat.
DRAINING_WAIT_S = 1.0

# The gateway does not know the task, or says that another worker has it.
_LOST = frozenset({"stale_term", "not_found", "conflict"})


class Claimer:
    """
    The claims of one worker of one gateway.

    More than eight arguments: what ``agent.register`` takes, and the calls back to the desk.

    Args:
        url: ``ws://127.0.0.1:8000/ws``.
        token: With scope ``agent``; None: an open gateway.
        handle: The name that all workers of one kind share.
        agents: The agents that it has, as ``agent.register`` takes them.
        capabilities: The capabilities that a task may ask for in place of an agent.
        domain: Its failure domain; None: none.
        concurrency: How many claims are worked on at once.
        make: Works on a claim; what it tells goes through ``report``.
        lost: Called with a task_id when the task is no longer this worker's.
        has_room: Whether a claim could be worked on now. Call ``look`` when that may have changed.
        apart: Whether a claim is worked on in a process of its own, and so is alone anyway.
        identity: To come back as; None: a new worker.
        answered_for: Whether another process, the keeper, answers for a task and term that the
            gateway takes this worker to hold and that it does not know. Every other such task is
            given back.
        on_registered: Called each time the gateway has accepted the worker.
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
        apart: Callable[[Claim], bool] = lambda claim: False,
        identity: Identity | None = None,
        answered_for: Callable[[str, int], bool] = lambda task_id, term: False,
        on_registered: Callable[[Identity], None] = lambda identity: None,
        on_notice: Callable[[str, Any], None] = lambda name, about: None,
    ) -> None:
        about = {"handle": handle, "agents": list(agents), "capabilities": list(capabilities)}
        self._registration = Registration(
            url,
            token=token,
            about=about if domain is None else {**about, "domain": domain},
            identity=identity,
            status=self._status,
            holds=self._holds,
            on_registered=on_registered,
            on_shutdown=self.leave,
            on_notice=on_notice,
        )
        self._concurrency = concurrency
        self._make = make
        self._lost = lost
        self._has_room = has_room
        self._apart = apart
        self._answered_for = answered_for
        self._running: dict[str, asyncio.Task[None]] = {}
        self._claims: dict[str, Claim] = {}
        self._leaving = asyncio.Event()
        self._leave_by = 0.0
        self._goodbye = True
        self._changed = asyncio.Event()

    @property
    def identity(self) -> Identity | None:
        """The worker as the gateway knows it; None: it never was registered."""
        return self._registration.identity

    @property
    def beat_every_s(self) -> float:
        """How often a beat is due, in seconds; 0 before the worker was first accepted."""
        return self._registration.beat_every_s

    async def run(self) -> None:
        """
        Work until told to leave; cancelling leaves without a word.

        Raises:
            Refused: If the gateway does not want this client.
            CallFailed: If the worker may not register.
        """
        try:
            async with self._registration, asyncio.TaskGroup() as group:
                jobs = [
                    group.create_task(self._registration.keep()),
                    group.create_task(self._take_claims(group)),
                ]
                await self._leaving.wait()
                await self._finish()
                for job in jobs:
                    job.cancel()
        except BaseExceptionGroup as errors:
            raise _first_of(errors) from errors

    def leave(self, grace_s: float, *, goodbye: bool = True) -> None:
        """
        Take nothing more, finish within ``grace_s``, give back what is left, and go.

        Of two calls the earlier end counts.

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
        """Look again whether there is room for another claim."""
        self._changed.set()

    async def report(self, method: str, claim: Claim, params: Mapping[str, Any]) -> Any:
        """
        Tell the gateway about a claim; waits up to 300 s for a gateway that is away.

        Without an answer it is said again, so that it has to be harmless when it is heard twice.

        Raises:
            StaleTerm: If the task is no longer this worker's.
            CallFailed: If the report is refused for another reason.
        """
        task_id = claim["task_id"]
        whole = {**params, "task_id": task_id, "term": claim["term"]}
        try:
            async with asyncio.timeout(TELL_WITHIN_S):
                while True:
                    try:
                        return await self._registration.call(method, whole)
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

    # --- for the registration ---------------------------------------------------------------

    def _status(self) -> str:
        if self._leaving.is_set():
            return "draining"
        return "busy" if self._running else "idle"

    def _holds(self, task_id: str, term: int) -> bool:
        known = self._claims.get(task_id)
        return self._answered_for(task_id, term) or (known is not None and known["term"] == term)

    # --- working ----------------------------------------------------------------------------

    async def _take_claims(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        registration = self._registration
        while not self._leaving.is_set():
            if self._full or not self._has_room():
                self._changed.clear()
                await self._changed.wait()
                continue
            await registration.wait_registered()
            asked_at = loop.time()
            try:
                claim = await registration.call(
                    "task.claim", {"wait": CLAIM_WAIT_S}, timeout=CLAIM_WAIT_S + ANSWER_WAIT_S
                )
            except Disconnected:
                continue
            except TimeoutError:
                # A later answer would be lost. The task that it holds is given back when this
                # worker registers again.
                await registration.drop()
                continue
            except CallFailed as error:
                await registration.register_again_if_unknown(error)
                await pause(error.retry_after or PAUSE_S)
                continue
            if claim is None:
                if loop.time() - asked_at < PAUSE_S:
                    await pause(PAUSE_S)
            elif self._leaving.is_set():
                await self._give_back(claim)
            else:
                if self._apart(claim):
                    claim = {**claim, "alone": False}
                earlier = self._running.get(claim["task_id"])
                job = group.create_task(self._work(claim, earlier))
                self._running[claim["task_id"]] = job
                self._claims[claim["task_id"]] = claim

    async def _work(self, claim: Claim, earlier: asyncio.Task[None] | None) -> None:
        task_id = claim["task_id"]
        renewing = asyncio.create_task(self._renew(claim))
        try:
            if earlier is not None:
                # An earlier attempt, which has lost this task, is still being stopped here.
                await asyncio.wait({earlier})
            if claim.get("alone"):
                await self._until_alone()
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

    @property
    def _full(self) -> bool:
        """Whether nothing more is taken: one is to be alone, or there are as many as may be."""
        alone = any(claim.get("alone") for claim in self._claims.values())
        return alone or len(self._running) >= self._concurrency

    async def _until_alone(self) -> None:
        """Wait until all other work is done; no more is taken meanwhile."""
        this = asyncio.current_task()
        while others := {job for job in self._running.values() if job is not this}:
            await asyncio.wait(others)

    async def _renew(self, claim: Claim) -> None:
        while True:
            await pause(self._registration.renew_every_s)
            try:
                await self.report("task.heartbeat", claim, {})
            except StaleTerm:
                return
            except CallFailed as error:
                logger.warning("task %s: lease not renewed: %s", claim["task_id"], error)

    async def _give_back(self, claim: Claim) -> None:
        with contextlib.suppress(CallFailed, Disconnected, TimeoutError):
            released = {"task_id": claim["task_id"], "term": claim["term"]}
            await self._registration.call("task.release", released)

    # --- leaving ----------------------------------------------------------------------------

    async def _finish(self) -> None:
        registration = self._registration
        if registration.registered:
            with contextlib.suppress(CallFailed, Disconnected, TimeoutError):
                draining = {"status": "draining"}
                await registration.call("agent.heartbeat", draining, timeout=DRAINING_WAIT_S)
        while self._running:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(self._leave_by):
                    await self._changed.wait()
            except TimeoutError:
                break
        jobs, claims = list(self._running.values()), list(self._claims.values())
        for claim in claims:
            # Stopped before it is given back: a report after that would be refused.
            self._lost(claim["task_id"])
        if jobs:
            await asyncio.wait(jobs, timeout=STOP_WAIT_S)
        if not registration.registered:
            return  # The gateway cannot be told; it notices that the worker is gone.
        for claim in claims:
            await self._give_back(claim)
        if self._goodbye:
            with contextlib.suppress(CallFailed, Disconnected, TimeoutError):
                await registration.call("agent.remove", {}, timeout=STOP_WAIT_S)


def _first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the error that ended the worker, not one of those that followed from it."""
    for error in errors.exceptions:
        return _first_of(error) if isinstance(error, BaseExceptionGroup) else error
    return errors
