"""
Task reports: events that a worker publishes about its own tasks, taken as its operations are.

``agent_error`` is ``task.fail`` and ``partial_result`` is ``task.update``; both need the lease. A
``resource_cleanup`` needs none: cleaning up ends after the task does, so the worker that made the
attempt may tell it later. A recovery or an end is for the gateway to say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.domain.access import Caller
from gateway.domain.errors import Conflict, InvalidParams, NotFound, RequestError
from gateway.domain.stream import Position
from gateway.domain.task import BESIDE, subject_of
from gateway.domain.worker import Worker
from gateway.execution.handlers.params import check, check_report
from gateway.execution.holders.registry import Registry
from gateway.execution.holders.reports import Reports
from gateway.execution.record.state import State
from gateway.execution.tasks.lifecycle import Lifecycle
from gateway.ports import EventLog
from gateway.protocol.operations import OPERATIONS
from gateway.protocol.shapes import LEASE_NEEDS, PROOF

__all__ = ["TaskReports"]

Report = Mapping[str, Any]

# By type, what is taken of a task; None: it is for the gateway to say.
TAKEN = OPERATIONS["event.publish"].events
# How many entries one report makes at the most: what is preserved, the error, what comes next.
ENTRIES_MAX = 8


class TaskReports:
    """Takes the events that workers publish about their tasks."""

    def __init__(
        self,
        *,
        log: EventLog,
        state: State,
        lifecycle: Lifecycle,
        registry: Registry,
        reports: Reports,
    ) -> None:
        self._log = log
        self._state = state
        self._lifecycle = lifecycle
        self._registry = registry
        self._reports = reports

    async def take(self, report: Report, caller: Caller) -> dict[str, Any]:
        """
        Take one report, and give the id and position of the event that it became.

        Raises:
            InvalidParams: If it does not say under which lease, or a value cannot be.
            NotFound: If there is no such task or worker.
            StaleTerm: If that lease has passed on.
            Conflict: If this is for the gateway to say.
        """
        for name in LEASE_NEEDS:
            if report.get(name) is None:
                raise InvalidParams(f"a report on a task needs its {name}", field=name)
        if TAKEN[report["type"]] is None:
            raise Conflict(f"the gateway itself says {report['type']} of a task", field="type")
        try:
            check_report(report)
        except RequestError as error:
            if report["type"] == "agent_error":
                await self._in_its_place(report, caller, error)
            raise
        worker = await self._registry.proved(report, caller)
        before = self._log.head
        match report["type"]:
            case "agent_error" if report.get("error_code") == BESIDE:
                await self._reports.failed_beside(worker, report)
            case "agent_error":
                await self._reports.fail(worker, {"message": "reported", **report})
            case "partial_result":
                # Its ``piece`` is the event's; the gateway counts those itself.
                update = {name: said for name, said in report.items() if name != "piece"}
                await self._reports.update(worker, update)
            case _:
                await self._cleaned(worker, report)
        return await self._answer(report, before)

    async def _in_its_place(self, report: Report, caller: Caller, error: RequestError) -> None:
        """End the attempt of a worker that says that it failed, in words that cannot be taken."""
        proof = {name: report[name] for name in PROOF if name in report}
        lease = {"task_id": report["task_id"], "term": report["term"]}
        failed = {
            "message": f"its report was refused: {error.message}",
            "error_type": "validation_error",
            "error_code": "event_invalid",
        }
        # What else is wrong with it, the worker is not told: the first of its mistakes is enough.
        with contextlib.suppress(RequestError):
            check("task.fail", {**proof, **lease, **failed})
            worker = await self._registry.proved(proof, caller)
            await self._reports.fail(worker, {**lease, **failed})

    async def _cleaned(self, worker: Worker, report: Report) -> None:
        task = self._state.tasks.get(report["task_id"])
        if task is None:
            raise NotFound(f"there is no task {report['task_id']}", field="task_id")
        made = (worker.agent_id, report["term"])
        found = [attempt for attempt in task.attempts if (attempt.agent_id, attempt.term) == made]
        if not found:
            raise self._lifecycle.metering.stale("this worker made no attempt under that term")
        if found[0].cleaned:
            raise Conflict("the cleanup of this attempt was told before, and is told once")
        await self._lifecycle.cleaned(
            task.task_id,
            report["term"],
            resources=report.get("resources_cleaned", []),
            memory_freed=report.get("memory_freed", 0),
            leftovers=report.get("leftovers", []),
            status=report.get("cleanup_status"),
        )

    async def _answer(self, report: Report, before: int) -> dict[str, Any]:
        """Find the event that the report became."""
        log = self._log
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
