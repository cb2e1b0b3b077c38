"""
The operations: one handler each, bound by the name in ``protocol.operations``.

Rights come first, then the world; whatever is refused leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from gateway.domain import task as tasks
from gateway.domain.access import Caller
from gateway.domain.errors import (
    Conflict,
    InvalidParams,
    NotFound,
    NotPermitted,
)
from gateway.domain.own_failures import cancelled
from gateway.domain.recovery import Next
from gateway.domain.stream import Position, parse_position
from gateway.domain.task import Task
from gateway.domain.timestamps import rfc3339
from gateway.execution.handlers.params import check
from gateway.execution.handlers.publishing import Publishing
from gateway.execution.record.reach import Core
from gateway.execution.record.state import breaker_view
from gateway.execution.tasks.order import Order
from gateway.protocol.operations import OPERATIONS
from gateway.values import INPUT_BYTES_MAX, measured, offset_of

__all__ = ["Handlers"]

Handler = Callable[[Mapping[str, Any], Caller], Awaitable[Any]]

LIST_LIMIT = 100
# Entries that one event.list looks at before it answers with a cursor.
SCAN_MAX = 10_000


class Handlers:
    """What each operation does."""

    def __init__(self, core: Core, publishing: Publishing, more: Mapping[str, Handler]) -> None:
        self._core = core
        self.by_name: dict[str, Handler] = {
            "task.create": self._task_create,
            "task.list": self._task_list,
            "task.get": self._task_get,
            "task.partial": self._task_partial,
            "task.cancel": self._task_cancel,
            "task.retry": self._task_retry,
            "breaker.list": self._breaker_list,
            "event.publish": publishing.publish,
            "event.list": self._event_list,
            **more,
        }

    async def call(self, name: str, params: Mapping[str, Any], caller: Caller) -> Any:
        """Check rights and parameters, and carry it out; see ``Service.call``."""
        check(name, params)
        caller.require(OPERATIONS[name].scope)
        return await self.by_name[name](params, caller)

    # --- tasks ------------------------------------------------------------------------------

    async def _task_create(self, params: Mapping[str, Any], caller: Caller) -> Any:
        core = self._core
        user_id = params.get("user_id", caller.user_id)
        if user_id != caller.user_id and not caller.operator:
            raise NotPermitted("only an operator makes tasks for others", field="user_id")
        if ("agent" in params) == ("capability" in params):
            raise InvalidParams("task.create needs agent or capability, one of them", field="agent")
        capability = params.get("capability")
        name = params.get("agent") or core.agents.capable_of(capability or "")
        measured(params.get("input"), field="input", bytes_max=INPUT_BYTES_MAX)
        policy = core.agents.policy(name or capability or "")
        order = Order(
            agent_name=name,
            capability=capability,
            input=params.get("input"),
            user_id=user_id,
            priority=params.get("priority", 5),
            timeout_s=params.get("timeout", core.settings.task_timeout),
            max_attempts=params.get("max_attempts", policy.max_attempts),
            correlation_id=params.get("correlation_id"),
            causation_id=params.get("causation_id"),
            idempotency_key=params.get("idempotency_key"),
        )
        return self._submitted(await core.orders.submit(order))

    def _submitted(self, task: Task) -> dict[str, Any]:
        answer = {
            "task_id": task.task_id,
            "status": task.status,
            "position": self._position(),
        }
        if task.retry_of is not None:
            answer["retry_of"] = task.retry_of
        if not self._served(task):
            answer["warning"] = "no_worker"
        return answer

    def _served(self, task: Task) -> bool:
        """Whether somebody is there who could do it."""
        if self._core.agents.get(task.agent_name) is not None:
            return True
        return any(
            worker.takes_work and worker.can_do(task.agent_name, task.capability)
            for worker in self._core.state.workers.values()
        )

    async def _task_list(self, params: Mapping[str, Any], caller: Caller) -> Any:
        await self._core.reach.wait_for(params)
        user_id = params.get("user_id")
        if not caller.reads_all:
            if user_id not in (None, caller.user_id):
                raise NotPermitted("these are not your tasks", field="user_id")
            user_id = caller.user_id
        before = offset_of(params.get("cursor"), field="cursor")
        limit = params.get("limit", LIST_LIMIT)
        found: list[Task] = []
        for task in reversed(self._core.state.tasks.values()):
            if before is not None and task.sequence >= before:
                continue
            if user_id is not None and task.user_id != user_id:
                continue
            if params.get("status", task.status) != task.status:
                continue
            if params.get("agent", task.agent_name) != task.agent_name:
                continue
            if len(found) == limit:
                return {
                    "items": [tasks.view(task) for task in found],
                    "next": str(found[-1].sequence),
                }
            found.append(task)
        return {"items": [tasks.view(task) for task in found], "next": None}

    async def _task_get(self, params: Mapping[str, Any], caller: Caller) -> Any:
        await self._core.reach.wait_for(params)
        return tasks.view(self._seen(params, caller))

    async def _task_partial(self, params: Mapping[str, Any], caller: Caller) -> Any:
        await self._core.reach.wait_for(params)
        task = self._seen(params, caller)
        kept = task.preserved
        now = self._core.clock.wall()
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
            "expires_at": rfc3339(self._core.state.expires_at(task, now)),
        }

    async def _task_cancel(self, params: Mapping[str, Any], caller: Caller) -> Any:
        task = self._seen(params, caller)
        by = "user" if caller.user_id == task.user_id else "operator"
        await self._core.lifecycle.end(
            task.task_id,
            cancelled(by),
            cause="cancelled",
            after=Next("cancelled", reason=f"cancelled_by_{by}"),
        )
        return tasks.view(task)

    async def _task_retry(self, params: Mapping[str, Any], caller: Caller) -> Any:
        task = self._seen(params, caller)
        if task.live:
            await self._core.lifecycle.hurry(task.task_id)
            return self._submitted(task)
        if task.status == "succeeded":
            raise Conflict(f"task {task.task_id} has succeeded, there is nothing to retry")
        again = await self._core.orders.submit(
            Order(
                agent_name=task.agent_name,
                capability=task.capability,
                input=task.input,
                user_id=task.user_id,
                priority=task.priority,
                timeout_s=task.timeout_s,
                max_attempts=task.max_attempts,
                correlation_id=task.correlation_id,
                causation_id=task.finished_event_id,
                retry_of=task.task_id,
            )
        )
        return self._submitted(again)

    def _seen(self, params: Mapping[str, Any], caller: Caller) -> Task:
        """The task, if this caller may know that there is one."""
        task = self._core.state.tasks.get(params["task_id"])
        if task is None or not caller.may_see_user(task.user_id):
            raise NotFound(f"there is no task {params['task_id']}", field="task_id")
        return task

    # --- breakers ---------------------------------------------------------------------------

    async def _breaker_list(self, params: Mapping[str, Any], caller: Caller) -> Any:
        now = self._core.clock.wall()
        items = []
        for breaker in self._core.state.breakers.values():
            outcomes, failures = breaker.window.counts(now)
            items.append(
                breaker_view(breaker)
                | {
                    "failure_rate": round(breaker.failure_rate(now), 3),
                    "consecutive_failures": breaker.consecutive,
                    "outcomes": outcomes,
                    "failures": failures,
                    "permits_in_use": len(breaker.probes),
                }
            )
        start = offset_of(params.get("cursor"), field="cursor") or 0
        end = start + params.get("limit", LIST_LIMIT)
        return {
            "items": items[start:end],
            "next": str(end) if end < len(items) else None,
        }

    # --- events -----------------------------------------------------------------------------

    async def _event_list(self, params: Mapping[str, Any], caller: Caller) -> Any:
        log = self._core.log
        topics = [params["topic"]] if "topic" in params else []
        for kind in ("recipient", "channel"):
            name = params.get("recipient_id" if kind == "recipient" else kind)
            if name is not None:
                topics.append(f"{kind}:{name}")
        if not topics:
            topics = ["*"] if caller.operator else [f"user:{caller.user_id}"]
        for topic in topics:
            owner = self._core.state.owner_of(topic[5:]) if topic.startswith("task:") else None
            if not caller.may_follow(topic, task_owner=owner):
                raise NotPermitted(f"you may not read {topic}", field="topic")
        after = self._after(params)
        limit = params.get("limit", LIST_LIMIT)
        items: list[Any] = []
        for _ in range(SCAN_MAX // 500):
            batch = await log.read(after=after, topics=_readable(topics[0]), limit=500)
            for entry in batch:
                after = entry.offset
                if entry.operators_only and not caller.operator:
                    continue
                if not set(topics[1:]) <= set(entry.topics):
                    continue
                if params.get("type", entry.type) != entry.type:
                    continue
                event = orjson.loads(entry.operator if caller.operator else entry.public)
                parent = params.get("parent_event_id")
                if parent is not None and parent not in (
                    event.get("parent_event_id"),
                    event["event_id"],
                ):
                    continue
                items.append(event)
                if len(items) == limit:
                    return {"items": items, "next": str(Position(log.epoch, after))}
            if len(batch) < 500:
                return {"items": items, "next": None}
        return {"items": items, "next": str(Position(log.epoch, after))}

    def _after(self, params: Mapping[str, Any]) -> int:
        log = self._core.log
        for field in ("cursor", "since"):
            if field in params:
                position = parse_position(params[field], epoch=log.epoch, field=field)
                if position.epoch != log.epoch:
                    raise InvalidParams(
                        f"{field} is a position of another log; begin anew without it",
                        field=field,
                    )
                return position.offset
        return 0

    # --- positions --------------------------------------------------------------------------

    def _position(self) -> dict[str, object]:
        return Position(self._core.log.epoch, self._core.log.head).as_dict()


def _readable(topic: str) -> list[str] | None:
    """The log's topics behind one that is asked for; None: all."""
    if topic == "*":
        return None
    return [topic, "system"] if topic.startswith("user:") else [topic]
