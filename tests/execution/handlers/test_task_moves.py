"""
Every operation on a task, in every state, by everyone: what is allowed, how the rest is refused.

The table says it all. Each cell is a task of its own; a call that is refused has appended nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gateway.domain.access import LOCAL_OPERATOR, Caller
from gateway.domain.errors import RequestError
from gateway.domain.task import Task
from tests.execution.hands import SCOPES, Hand, hand
from tests.execution.world import World

OWNER = Caller("ann", frozenset({"events:read", "tasks:write"}))
STRANGER = Caller("bob", frozenset({"events:read", "tasks:write"}))

STATES = ("pending", "running", "waiting", "succeeded", "failed", "cancelled", "dead_lettered")
CALLERS = ("holder", "former", "other", "owner", "stranger", "operator")
WORKERS = CALLERS[:3]
# What a holder says of its task, with what each needs.
REPORTS: dict[str, dict[str, Any]] = {
    "task.heartbeat": {},
    "task.update": {"progress": 0.5},
    "task.complete": {"result": 1},
    "task.fail": {"message": "no", "error_type": "rate_limit"},
    "task.release": {},
}
OF_OWNERS = ("task.get", "task.partial", "task.cancel", "task.retry")
OPERATIONS = (*OF_OWNERS, "task.claim", *REPORTS)


def expected(operation: str, state: str, caller: str) -> str | None:
    """The code of the refusal; None: it is allowed."""
    running, live = state == "running", state in ("pending", "running", "waiting")
    if operation in OF_OWNERS:
        if caller not in ("owner", "operator"):
            return "not_found"  # a task of another user is not there
        if operation == "task.cancel":
            return None if live else "conflict"
        if operation == "task.retry":
            return "conflict" if state in ("pending", "running", "succeeded") else None
        return None
    if caller in ("owner", "stranger"):
        return "not_permitted"  # without the scope of workers
    if operation == "task.claim":
        # An operator speaks for the worker that it names: here, one that holds nothing.
        if running:
            return None if caller == "holder" else "task_claimed"
        return None if state == "pending" else "conflict"
    # What an operator says is said by the worker that it names: here, the holder.
    return None if running and caller in ("holder", "operator") else "stale_term"


@dataclasses.dataclass
class Scene:
    """A task in a state, its holder (the last one), the one before that, and another worker."""

    here: World
    task: Task
    holder: Hand
    former: Hand
    other: Hand

    async def ask(self, operation: str, caller: str) -> Any:
        """Make a call as ``caller``; an operator speaks for a worker without its secret."""
        about: dict[str, Any] = {"task_id": self.task.task_id}
        by = {"holder": self.holder, "former": self.former, "other": self.other}
        worker = by.get(caller, self.other if operation == "task.claim" else self.holder)
        who = {"owner": OWNER, "stranger": STRANGER, "operator": LOCAL_OPERATOR}
        if operation not in OF_OWNERS:
            about["agent_id"] = worker.agent_id
            if caller != "operator":
                about["agent_secret"] = worker.secret
        if operation in REPORTS:
            # Each says what it knows: the holder its term, the former one the term that it had.
            mine = [a.term for a in self.task.attempts if a.agent_id == worker.agent_id]
            about |= {"term": mine[-1] if mine else max(1, self.task.term), **REPORTS[operation]}
        return await self.here.call(operation, who.get(caller, worker.caller), **about)


async def scene(here: World, state: str) -> Scene:
    """Bring a task into a state: one worker has given it back, another one has it or had it."""
    # An agent of its own, so that its breaker knows of nothing else.
    name = f"writer-{len(here.state.tasks)}"
    former, holder, other = [await hand(here, name) for _ in range(3)]
    task_id = await here.submit(name, user_id="ann", max_attempts=2 if state != "failed" else 1)
    task = here.state.tasks[task_id]
    for worker in (former, holder):
        await worker.claim(task_id=task_id)
        if worker is former:
            await worker.tell("task.release")
    match state:
        case "pending":
            await holder.tell("task.release")
        case "waiting":
            await holder.tell("task.fail", message="no", error_type="rate_limit", retry_after=60)
        case "succeeded":
            await holder.tell("task.complete", result=1)
        case "failed":
            await holder.tell("task.fail", message="no", error_type="invalid_input")
        case "cancelled":
            await here.call("task.cancel", OWNER, task_id=task_id)
        case "dead_lettered":
            await holder.tell("task.fail", message="no", error_type="rate_limit")
            await here.call("task.retry", OWNER, task_id=task_id)
            await holder.claim(task_id=task_id)
            await holder.tell("task.fail", message="no", error_type="rate_limit")
    assert task.status == state
    return Scene(here, task, holder, former, other)


@pytest.mark.requirement("MESH-18", "WEFT-W14")
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_move_is_made_by_who_may_make_it_in_a_state_that_allows_it(
    here: World, operation: str, state: str
) -> None:
    for caller in CALLERS:
        it = await scene(here, state)
        before, task = len(here.entries), it.task
        was = (task.status, task.term, task.holder, task.attempt)
        code = expected(operation, state, caller)
        if code is None:
            await it.ask(operation, caller)
        else:
            with pytest.raises(RequestError) as refused:
                await it.ask(operation, caller)
            assert refused.value.code == code, (caller, str(refused.value))
            assert refused.value.http_status < 500
            assert len(here.entries) == before, caller
            assert (task.status, task.term, task.holder, task.attempt) == was, caller
        if task.live:
            await here.call("task.cancel", task_id=task.task_id)
        # What retry has made of an ended task.
        for open_task in list(here.state.live.values()):
            await here.call("task.cancel", task_id=open_task.task_id)


MOVES = {
    "task.cancel": {"pending": "cancelled", "running": "cancelled", "waiting": "cancelled"},
    "task.claim": {"pending": "running", "running": "running"},
    "task.heartbeat": {"running": "running"},
    "task.update": {"running": "running"},
    "task.complete": {"running": "succeeded"},
    "task.fail": {"running": "waiting"},
    "task.release": {"running": "pending"},
    "task.retry": {"waiting": "waiting"},
}


@pytest.mark.requirement("MESH-18")
@pytest.mark.parametrize("operation", MOVES)
async def test_an_allowed_move_leads_where_it_should(here: World, operation: str) -> None:
    for state, after in MOVES[operation].items():
        it = await scene(here, state)
        term = it.task.term
        caller = "owner" if operation in OF_OWNERS else "holder"
        await it.ask(operation, caller)
        assert it.task.status == after
        if operation == "task.claim" and state == "pending":
            assert (it.task.term, it.task.holder) == (term + 1, it.holder.agent_id)
        else:
            assert it.task.term == term


@pytest.mark.requirement("MESH-18")
@pytest.mark.parametrize("progress", [-0.01, 1.01, 50, True, "0.5"])
async def test_progress_out_of_its_bounds_is_refused_with_the_field(
    here: World, progress: Any
) -> None:
    it = await scene(here, "running")
    with pytest.raises(RequestError) as refused:
        await it.holder.tell("task.update", progress=progress)
    assert (refused.value.code, refused.value.field) == ("invalid_params", "progress")
    assert refused.value.http_status == 400
    for allowed in (0, 0.5, 1):
        await it.holder.tell("task.update", progress=allowed)
        assert it.task.progress == allowed


async def test_the_owner_that_is_a_worker_too_holds_nothing_by_that(here: World) -> None:
    it = await scene(here, "running")
    both = Caller("ann", SCOPES)
    about = {"task_id": it.task.task_id, "term": it.task.term, "result": 1}
    with pytest.raises(RequestError) as refused:
        await here.call("task.complete", both, agent_id=it.holder.agent_id, **about)
    assert (refused.value.code, refused.value.field) == ("not_permitted", "agent_secret")
