"""
Events that a worker publishes about its own tasks: the same roads as its operations.

``agent_error`` is ``task.fail``, ``partial_result`` is ``task.update``; both need the lease. What
was cleaned up may be told after the end, by whoever made the attempt. What comes next (a
recovery, an end) is for the gateway to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.domain.access import Caller
from gateway.domain.errors import Conflict, InvalidParams, NotFound, StaleTerm
from gateway.domain.stream import Position
from gateway.domain.task import subject_of
from gateway.domain.worker import Worker
from gateway.execution.holders.claims import Claims
from gateway.execution.holders.registry import Workers
from gateway.execution.record.reach import Core

__all__ = ["TaskReports"]

Report = Mapping[str, Any]

# Entries that one report makes at the most: what is preserved, the error, what comes next.
ENTRIES_MAX = 8


class TaskReports:
    """Takes what workers publish about their tasks."""

    def __init__(self, core: Core, workers: Workers, claims: Claims) -> None:
        self._core = core
        self._workers = workers
        self._claims = claims

    async def take(self, report: Report, caller: Caller) -> dict[str, Any]:
        """
        Take one report.

        Raises:
            InvalidParams: If it does not say under which lease, or a value cannot be.
            StaleTerm: If that lease has passed on.
            Conflict: If this is for the gateway to say.
        """
        for name, kind in (("task_id", str), ("agent_id", str), ("term", int)):
            if not isinstance(report.get(name), kind):
                raise InvalidParams(f"a report on a task needs its {name}", field=name)
        worker = await self._workers.proved(report, caller)
        before = self._core.log.head
        match report["type"]:
            case "agent_error":
                await self._claims.fail(worker, {"message": "reported", **report})
            case "partial_result":
                await self._claims.update(worker, report)
            case "resource_cleanup":
                await self._cleaned(worker, report)
            case other:
                raise Conflict(f"the gateway itself says {other} of a task", field="type")
        return await self._answer(report, before)

    async def _cleaned(self, worker: Worker, report: Report) -> None:
        task = self._core.state.tasks.get(report["task_id"])
        if task is None:
            raise NotFound(f"there is no task {report['task_id']}", field="task_id")
        made = [
            attempt
            for attempt in task.attempts
            if attempt.agent_id == worker.agent_id and attempt.term == report["term"]
        ]
        if not made:
            raise StaleTerm("this worker made no attempt under that term", field="term")
        await self._core.lifecycle.cleaned(
            task.task_id,
            resources=_names(report, "resources_cleaned"),
            memory_freed=report.get("memory_freed", 0),
            leftovers=_names(report, "leftovers"),
            error=made[0].error,
            status=report.get("cleanup_status"),
        )

    async def _answer(self, report: Report, before: int) -> dict[str, Any]:
        """Say which event it became."""
        log = self._core.log
        entries = await log.read(
            after=before, topics=[f"task:{report['task_id']}"], limit=ENTRIES_MAX
        )
        for entry in entries:
            if entry.type == report["type"] and entry.subject == subject_of(report["task_id"]):
                event = orjson.loads(entry.public)
                return {
                    "event_id": event["event_id"],
                    "position": Position(log.epoch, entry.offset).as_dict(),
                    "error_id": event.get("error_id"),
                }
        raise InvalidParams("the report says nothing: give it text, or a step with data")


def _names(report: Report, field: str) -> list[str]:
    names = report.get(field, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidParams(f"{field} has to be a list of names", field=field)
    return names
