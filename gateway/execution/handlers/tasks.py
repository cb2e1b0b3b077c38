"""
The operations on tasks, as their callers see them: create, list, get, cancel, retry.

The rule: rights come first, then the state of the world; a call that is refused changes nothing.
A task that a caller may not see is not there for it (``NotFound``), so that ids tell nothing.
"""

from __future__ import annotations

import contextlib
from typing import Any

from gateway.attempts.agents import Agents
from gateway.domain import task as tasks
from gateway.domain.access import Caller
from gateway.domain.errors import Conflict, InvalidParams, NotFound, NotPermitted
from gateway.domain.own_failures import cancelled
from gateway.domain.packed import opened, weight_of
from gateway.domain.recovery import Next
from gateway.domain.stream import Position
from gateway.domain.task import Task
from gateway.domain.timestamps import rfc3339
from gateway.execution.handlers.params import Handler, Page, Params
from gateway.execution.holders.waits import Waits
from gateway.execution.record.reach import Reach
from gateway.execution.record.state import State
from gateway.execution.tasks.acceptance import Acceptance
from gateway.execution.tasks.dead_letters import DeadLetters
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.execution.tasks.order import Order
from gateway.ports import Clock, EventLog
from gateway.values import offset_of

__all__ = ["TaskHandlers"]

# The parameters of task.create that an order takes as they are.
ORDERED = (
    "capability",
    "priority",
    "timeout",
    "max_attempts",
    "correlation_id",
    "causation_id",
    "traceparent",
    "title",
    "idempotency_key",
)
# What a task takes in a list as JSON at the most, in bytes, beside its result and its attempts.
SHOWN_BYTES, ATTEMPT_SHOWN_BYTES = 4_096, 8_192
# How many tasks a list looks at before others have their turn: about a millisecond.
LOOKS_AT_ONCE = 5_000


class TaskHandlers:
    """
    The operations ``task.*`` of callers; workers have theirs in ``workers``.

    More than eight arguments: a caller asks about a task from its order to its dead letter.
    """

    def __init__(
        self,
        *,
        state: State,
        acceptance: Acceptance,
        lifecycle: Lifecycle,
        dead_letters: DeadLetters,
        agents: Agents,
        waits: Waits,
        reach: Reach,
        log: EventLog,
        clock: Clock,
    ) -> None:
        self._state = state
        self._acceptance = acceptance
        self._lifecycle = lifecycle
        self._dead_letters = dead_letters
        self._agents = agents
        self._waits = waits
        self._reach = reach
        self._log = log
        self._clock = clock
        self.by_name: dict[str, Handler] = {
            "task.create": self._task_create,
            "task.list": self._task_list,
            "task.get": self._task_get,
            "task.partial": self._task_partial,
            "task.cancel": self._task_cancel,
            "task.retry": self._task_retry,
        }

    async def _task_create(self, params: Params, caller: Caller) -> Any:
        user_id = params.get("user_id", caller.user_id)
        if user_id != caller.user_id and not caller.operator:
            raise NotPermitted("only an operator makes tasks for others", field="user_id")
        if ("agent" in params) == ("capability" in params):
            raise InvalidParams("task.create needs agent or capability, one of them", field="agent")
        if params.get("priority") == 0:
            _require_critical(caller, field="priority")
        asked = {name: params[name] for name in ORDERED if name in params}
        asked["agent"] = params.get("agent") or self._agents.capable_of(params["capability"])
        order = self._acceptance.order(input=params.get("input"), user_id=user_id, **asked)
        return await self.submitted(await self._acceptance.submit(order))

    async def submitted(self, task: Task) -> dict[str, Any]:
        """Describe a task that was just made, or is tried again now."""
        similar = await self._waits.nobody_serves(task) if task.live else None
        answer: dict[str, Any] = {
            "task_id": task.task_id,
            "status": task.status,
            "position": Position(self._log.epoch, self._log.head).as_dict(),
        }
        if task.retry_of is not None:
            answer["retry_of"] = task.retry_of
        if similar is not None:
            answer |= {"warning": "no_worker", "similar": similar}
        return answer

    async def _task_list(self, params: Params, caller: Caller) -> Any:
        await self._reach.wait_for(params)
        user_id = params.get("user_id")
        if not caller.reads_all:
            if user_id not in (None, caller.user_id):
                raise NotPermitted("these are not your tasks", field="user_id")
            user_id = caller.user_id
        last = before = offset_of(params.get("cursor"), field="cursor")
        status, agent = params.get("status"), params.get("agent")
        page = Page(params)
        newest_first = self._state.newest_of(user_id)
        looks = 0
        while (task := next(newest_first, None)) is not None:
            looks += 1
            if looks % LOOKS_AT_ONCE == 0:
                # Others have their turn, and may add tasks meanwhile.
                newest_first = iter(list(newest_first))
                await self._clock.sleep(0)
            if before is not None and task.sequence >= before:
                continue
            if status not in (None, task.status) or agent not in (None, task.agent_name):
                continue
            if page.full or not page.takes(tasks.view(task), size=_shown_bytes(task)):
                return {"items": page.items, "next": str(last)}
            last = task.sequence
        return {"items": page.items, "next": None}

    async def _task_get(self, params: Params, caller: Caller) -> Any:
        await self._reach.wait_for(params)
        task = self._seen(params, caller)
        kept = task.preserved
        return tasks.view(task) | {
            "input": opened(task.input),
            "preserved": {"text": kept.text, "steps": dict(kept.steps)},
        }

    async def _task_partial(self, params: Params, caller: Caller) -> Any:
        await self._reach.wait_for(params)
        task = self._seen(params, caller)
        kept = task.preserved
        now = self._clock.wall()
        return {
            "task_id": task.task_id,
            "preserved_data": kept.steps,
            "preserved_text": kept.text,
            "lost_data": kept.lost(task.plan),
            "progress": kept.progress(task.progress, task.plan),
            "size": kept.size,
            "sha256": kept.sha256(),
            "truncated": kept.truncated,
            "evicted": kept.evicted,
            "expires_at": rfc3339(self._state.expires_at(task, now)),
        }

    async def _task_cancel(self, params: Params, caller: Caller) -> Any:
        task = self._own(params, caller)
        by = "user" if caller.user_id == task.user_id else "operator"
        await self._lifecycle.end(
            task.task_id,
            cancelled(by),
            cause="cancelled",
            after=Next("cancelled", reason=f"cancelled_by_{by}"),
        )
        return tasks.view(task)

    async def _task_retry(self, params: Params, caller: Caller) -> Any:
        task = self._own(params, caller)
        if task.live:
            await self._lifecycle.hurry(task.task_id)
            return await self.submitted(task)
        if task.priority == 0:
            _require_critical(caller, field="task_id")
        if task.status == "succeeded":
            raise Conflict(f"task {task.task_id} has succeeded, there is nothing to retry")
        if self._dead_letters.known(task.task_id):
            by = "owner" if caller.user_id == task.user_id else "operator"
            with contextlib.suppress(NotFound):  # its letter was discarded meanwhile
                again = await self._dead_letters.retry(task.task_id, by=caller.user_id, reason=by)
                return await self.submitted(again)
        return await self.submitted(await self._acceptance.submit(Order.again(task)))

    def _seen(self, params: Params, caller: Caller) -> Task:
        """Give the task, if this caller may know that there is one."""
        task = self._state.tasks.get(params["task_id"])
        if task is None or not (
            caller.may_see_user(task.user_id)
            # Who may make a task may see what became of it.
            or (task.user_id == caller.user_id and caller.has("tasks:write"))
        ):
            raise NotFound(f"there is no task {params['task_id']}", field="task_id")
        return task

    def _own(self, params: Params, caller: Caller) -> Task:
        """Give the task, if it is this caller's to change; to see it is not enough."""
        task = self._seen(params, caller)
        if task.user_id != caller.user_id and not caller.operator:
            raise NotPermitted("this is not your task; its owner may do this", field="task_id")
        return task


def _shown_bytes(task: Task) -> int:
    """Tell how many bytes a task takes in a page at the most, without encoding it."""
    return SHOWN_BYTES + ATTEMPT_SHOWN_BYTES * len(task.attempts) + weight_of(task.result)


def _require_critical(caller: Caller, *, field: str) -> None:
    """Refuse a new task of priority 0, also one that repeats what an operator has made."""
    if not caller.has("tasks:critical"):
        raise NotPermitted("priority 0 needs the scope tasks:critical", field=field)
