"""
The desk of a worker: claims become attempts here, and what attempts report becomes calls.

The rule: agents are supervised exactly as in the gateway's own process. Only their reports go
another way, over the wire; text whose fate there is unknown is asked for before it is said again.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.attempts.agents import Agents
from gateway.attempts.assignment import Assignment
from gateway.attempts.attempt import Attempts
from gateway.attempts.cleanup import status_of
from gateway.attempts.loop_watch import LoopWatch
from gateway.attempts.pieces import TEXT_CHARS_MAX, Piece, Rest
from gateway.attempts.tries import Tries
from gateway.client.connection import Refused
from gateway.client.errors import CallFailed
from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import ConfigurationError, GatewayError, RequestError, StaleTerm
from gateway.domain.failure import Failure
from gateway.domain.preserved import Kept
from gateway.domain.redaction import Redacted
from gateway.domain.settings import Settings
from gateway.ports import Clock
from gateway.values import RESULT_BYTES_MAX, measured
from gateway.worker.claimer import Claim, Claimer
from gateway.worker.line import Line
from gateway.worker.registration import Identity

__all__ = ["work"]

logger = logger_of(__name__)

# What is not told yet when an attempt ends goes into the same call as its end, up to this size.
REST_BYTES_MAX = 48 * 1024
# The failure after which this process makes room for a fresh one.
MEMORY_CODE = "memory_limit_exceeded"


async def work(
    agents: Agents,
    line: Line,
    *,
    settings: Settings,
    clock: Clock,
    url: str,
    handle: str,
    domain: str | None,
    concurrency: int | None,
    grace_s: float,
) -> None:
    """
    Work until SIGTERM or SIGINT, or until the gateway says so.

    Args:
        agents: The agents that this worker has.
        line: To the keeper, the process that watches this one.
        settings: The bounds of attempts, and the default for ``concurrency``.
        clock: For the attempts.
        url: Of the gateway that has the tasks.
        handle: The name that all workers of one kind share.
        domain: The worker's failure domain; None: none.
        concurrency: Tasks worked on at once; None: the setting ``workers``.
        grace_s: Seconds that running attempts have at the end.

    Raises:
        ConfigurationError: If no agent is declared.
        GatewayError: If the gateway does not want this worker.
        MemoryError: If an attempt has used up the memory. All that could be told has been told.
    """
    if not list(agents):
        raise ConfigurationError("no agents are declared there: decorate one with @gateway.agent()")
    token, agent_id = line.hello.get("token"), line.hello.get("agent_id")
    desk = _Desk(
        agents,
        line,
        settings=settings,
        clock=clock,
        concurrency=concurrency or settings.workers,
        grace_s=grace_s,
    )
    claimer = desk.claimer = Claimer(
        url,
        token=token,
        handle=handle,
        domain=domain,
        agents=[declared.registration() for declared in agents],
        capabilities=sorted({c for declared in agents for c in declared.policy.capabilities}),
        concurrency=desk.concurrency,
        make=desk.make,
        lost=desk.attempts.ended,
        has_room=lambda: desk.attempts.threads.room,
        apart=desk.apart,
        identity=Identity(agent_id, line.hello["agent_secret"]) if agent_id else None,
        # The keeper is still telling the gateway that these are lost.
        answered_for=lambda task_id, term: [task_id, term] in line.hello.get("telling", ()),
        on_registered=desk.registered,
        on_notice=_note_for(url),
    )
    await desk.attempts.prepare()
    loop = asyncio.get_running_loop()
    watch = LoopWatch(
        clock, alive=lambda: line.say("alive"), blocked=lambda place: line.say("blocked", at=place)
    )
    watch.start()
    running = asyncio.ensure_future(claimer.run())

    def stop() -> None:
        if desk.stopping:
            claimer.leave(0)  # the second signal ends it at once
        elif desk.known:
            claimer.leave(grace_s)
        else:
            running.cancel()  # never registered, so there is nothing to finish
        desk.stopping = True

    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop)
    try:
        await running
    except asyncio.CancelledError:
        if not desk.stopping:
            raise
    except Refused as error:
        raise GatewayError(
            f"{url}: {error}; give a token with scope agent with --token or GATEWAY_TOKEN"
        ) from error
    except CallFailed as error:
        raise GatewayError(
            f"{url}: the worker may not register: {error}; its token needs the scope agent"
        ) from error
    finally:
        watch.stop()
        await desk.attempts.close()
    if desk.out_of_memory:
        raise MemoryError


class _Desk:
    """A ``Listener`` that passes on over the wire what attempts report."""

    def __init__(
        self,
        agents: Agents,
        line: Line,
        *,
        settings: Settings,
        clock: Clock,
        concurrency: int,
        grace_s: float,
    ) -> None:
        self.claimer: Claimer
        self.concurrency = concurrency
        self.known = self.stopping = False
        self.out_of_memory = False
        self._settings = settings
        self._line = line
        self._grace_s = grace_s
        self._claims: dict[str, _Held] = {}
        self.attempts = Attempts(agents, self, clock, settings, freed=lambda: self.claimer.look())

    def registered(self, identity: Identity) -> None:
        """Tell the keeper as which worker the gateway has accepted this process."""
        self.known = True
        every_s = self.claimer.beat_every_s
        self._line.say("registered", **identity.as_dict(), beat_every_s=every_s)

    def apart(self, claim: Claim) -> bool:
        """Whether an attempt has a process of its own, which no other attempt can end."""
        declared = self.attempts.agents.get(claim["agent_name"])
        return declared is not None and declared.home is not None

    async def make(self, claim: Claim) -> None:
        """
        Make the attempt that a claim is for.

        Raises:
            LookupError: If no agent of that name is declared here.
        """
        declared = self.attempts.agents.get(claim["agent_name"])
        if declared is None:
            # The task asked for a capability, or an operator assigned it to this worker.
            raise LookupError(f"no agent {claim['agent_name']!r} is declared here")
        assert self.claimer.identity is not None
        task_id, term = claim["task_id"], claim["term"]
        held = self._claims[task_id] = _Held(claim, isolated=declared.home is not None)
        about = {name: claim[name] for name in ("agent_name", "user_id", "attempt")}
        limit_s = declared.policy.timeout_s
        self._line.say("holds", task_id=task_id, term=term, limit_s=limit_s, **about)
        try:
            assignment = _assignment_of(claim, limit_s=limit_s)
            await self.attempts.make(assignment, declared, fallback=claim["mode"] == "fallback")
        except Exception:
            if not held.out_of_memory:
                raise
            # The keeper cleans up, which has the memory to do it.
            logger.info("task %s was not cleaned up after here", task_id, exc_info=True)
        finally:
            if self._claims.get(task_id) is held:
                del self._claims[task_id]
            self._line.say("ended", task_id=task_id, term=term)

    # --- what attempts report ---------------------------------------------------------------

    async def tell(
        self, task_id: str, term: int, piece: Piece, *, tries: Tries | None = None
    ) -> None:
        """Take what the attempt has produced, or how far it is."""
        held = self._held(task_id, term)
        async with held.turn:
            await self._tell(held, piece)

    async def succeed(
        self, task_id: str, term: int, result: Any, *, steps: Mapping[str, Any] | None = None
    ) -> None:
        """End the task with its result."""
        measured(result, field="result", bytes_max=RESULT_BYTES_MAX)
        held = self._held(task_id, term)
        async with held.turn:
            rest = await self._tell_ahead(held, Rest(steps=steps or {}))
            told = {"result": result} | ({"steps": rest.steps} if rest.steps else {})
            await self.claimer.report("task.complete", held.claim, told)

    async def fail(
        self,
        task_id: str,
        term: int,
        failure: Failure,
        *,
        cause: str,
        detail: Redacted | None = None,
        rest: Rest | None = None,
    ) -> None:
        """Take why the attempt failed."""
        held = self._held(task_id, term)
        if failure.error_code == MEMORY_CODE and not held.isolated:
            self._run_out(held)
        told: dict[str, Any] = {
            "message": f"{failure.error_type}: {failure.error_code}",
            "error_type": failure.error_type,
            "error_code": failure.error_code,
            "detail": {"cause": cause, **failure.facts, **(detail or {})},
        }
        if failure.retry_after_s is not None:
            told["retry_after"] = failure.retry_after_s
        async with held.turn:
            rest = await self._tell_ahead(held, rest or Rest())
            told |= {"steps": rest.steps} if rest.steps else {}
            told |= {"text": rest.text} if rest.text else {}
            told |= {"progress": rest.progress} if rest.progress is not None else {}
            told |= {"plan": rest.plan} if rest.plan is not None else {}
            await self.claimer.report("task.fail", held.claim, told)

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
        """Take what was cleaned up after the attempt."""
        held = self._claims.get(task_id)
        if held is None or held.claim["term"] != term:
            return
        if held.out_of_memory:
            # The keeper sees this process end, and tells both in one event.
            self._line.say(
                "cleaned",
                task_id=task_id,
                term=term,
                resources=resources,
                leftovers=leftovers,
            )
            return
        told = {
            **{name: held.claim[name] for name in ("agent_name", "user_id", "attempt")},
            "type": "resource_cleanup",
            "resources_cleaned": resources,
            "memory_freed": memory_freed,
            "cleanup_status": status_of(resources, leftovers),
            "leftovers": leftovers,
        }
        try:
            await self.claimer.report("event.publish", held.claim, told)
        except RequestError as refused:
            logger.info("task %s: its cleanup was not told: %s", task_id, refused)

    # --- how it reaches the gateway ---------------------------------------------------------

    def _held(self, task_id: str, term: int) -> _Held:
        held = self._claims.get(task_id)
        if held is None or held.claim["term"] != term:
            raise StaleTerm(f"task {task_id}: term {term} is over")
        return held

    def _run_out(self, held: _Held) -> None:
        """
        Leave without a goodbye, so that the keeper puts a fresh process in this one's place.

        After memory has run out the state of the heap is unknown; the next task would suffer.
        """
        held.out_of_memory = True
        self._line.say("out_of_memory", task_id=held.claim["task_id"], term=held.claim["term"])
        self.out_of_memory = True
        self.claimer.leave(self._grace_s, goodbye=False)

    async def _tell_ahead(self, held: _Held, rest: Rest) -> Rest:
        """Tell what is too large for the call that ends the attempt; returns what is left."""
        if len(orjson.dumps([rest.steps, rest.text])) <= REST_BYTES_MAX:
            return rest
        for name, data in rest.steps.items():
            await self._tell(held, Piece(step=name, data=data))
        for start in range(0, len(rest.text), TEXT_CHARS_MAX):
            await self._tell(held, Piece(text=rest.text[start : start + TEXT_CHARS_MAX]))
        return Rest(progress=rest.progress, plan=rest.plan)

    async def _tell(self, held: _Held, piece: Piece) -> None:
        """Tell a piece under its own number, so that it is kept once however often it is said."""
        if piece.failure is not None:
            failed = {
                **{name: held.claim[name] for name in ("agent_name", "user_id", "attempt")},
                "type": "agent_error",
                "error_type": piece.failure.error_type,
                "error_code": piece.failure.error_code,
                "detail": dict(piece.detail or {}),
            }
            await self.claimer.report("event.publish", held.claim, failed)
            return
        if piece.text is not None:
            told: dict[str, Any] = {"text": piece.text}
            told |= {"replaces": True} if piece.replaces else {}
        elif piece.step is not None:
            told = {"step": piece.step, "data": piece.data}
        else:
            told = {"progress": piece.progress, "step": piece.at_step, "plan": piece.plan}
            told = {name: value for name, value in told.items() if value is not None}
        held.piece += 1
        await self.claimer.report("task.update", held.claim, {**told, "piece": held.piece})


class _Held:
    """
    A claim that is worked on.

    Attributes:
        turn: Held while something is told, so that reports keep the order of the attempt.
        piece: The number of the newest piece that was told.
        out_of_memory: Whether the attempt has used more memory than there was.
        isolated: Whether it has a process of its own, with memory of its own.
    """

    def __init__(self, claim: Claim, *, isolated: bool = False) -> None:
        self.claim = claim
        self.isolated = isolated
        self.turn = asyncio.Lock()
        self.piece = int(claim["piece"])
        self.out_of_memory = False


def _assignment_of(claim: Claim, *, limit_s: float) -> Assignment:
    kept = claim["preserved"]
    return Assignment(
        task_id=claim["task_id"],
        user_id=claim["user_id"],
        agent_name=claim["agent_name"],
        attempt=claim["attempt"],
        term=claim["term"],
        input=claim["input"],
        preserved=Kept(kept["steps"], kept["text"]),
        limit_s=limit_s,
        traceparent=claim.get("traceparent"),
    )


def _note_for(url: str) -> Any:
    def note(name: str, about: Any) -> None:
        if name == "disconnected":
            logger.warning(
                "no connection to %s (%s), trying again in %.1f s; is `gateway serve` running?",
                url,
                about["reason"] or about["code"],
                about["retry_in"],
            )

    return note
