"""A story: what happened, told to a state entry by entry."""

from __future__ import annotations

from typing import Any

import orjson

import event_schemas
from gateway.domain import task as tasks
from gateway.domain import worker as workers
from gateway.domain.agent import AgentPolicy
from gateway.domain.breaker import Outcome
from gateway.domain.events import topics_of
from gateway.domain.facts import (
    Fact,
    Registered,
    Started,
    Submitted,
    to_json,
)
from gateway.domain.settings import Settings
from gateway.domain.task import Task
from gateway.execution.record.state import (
    State,
)
from gateway.ports import Entry
from tests.execution.record.room import NOW


class Story:
    """Tells a state what happened, a second apart."""

    def __init__(self, **changes: Any) -> None:
        self.state = State(Settings(**changes))
        self.at = NOW
        self.offset = 0

    def tell(
        self,
        type: str,
        subject: str,
        fact: Fact | dict[str, Any] | None = None,
        *,
        after_s: float = 1.0,
        **fields: Any,
    ) -> Outcome | None:
        """One entry; what is not named is as in the schema's example."""
        self.at += after_s
        self.offset += 1
        event = {**event_schemas.example(type), **fields}
        encoded = fact if fact is None or isinstance(fact, dict) else to_json(fact)
        body = orjson.dumps(event)
        entry = Entry(
            offset=self.offset,
            at=self.at,
            subject=subject,
            type=type,
            topics=topics_of(event),
            operators_only=False,
            public=body,
            operator=body,
            state=None if encoded is None else orjson.dumps(encoded),
        )
        return self.state.apply(entry, event)

    def submitted(self, task_id: str = "t1", **given: Any) -> Task:
        fact = Submitted(
            idempotency_key=given.pop("key", None),
            fingerprint="print",
            reserved_for=given.pop("reserved_for", None),
            input=given.pop("input", None),
        )
        event = {
            "user_id": "ann",
            "agent_name": "search",
            "priority": 5,
            "timeout": 300.0,
            "max_attempts": 3,
            "capability": None,
            **given,
        }
        self.tell("task_submitted", tasks.subject_of(task_id), fact, task_id=task_id, **event)
        return self.state.tasks[task_id]

    def of_task(
        self, type: str, task_id: str = "t1", fact: Fact | None = None, **fields: Any
    ) -> Outcome | None:
        event = {"task_id": task_id, "agent_name": "search", "user_id": "ann", **fields}
        return self.tell(type, tasks.subject_of(task_id), fact, **event)

    def started(self, task_id: str = "t1", **fact: Any) -> None:
        started = Started(**{"term": 1, "holder": "w1", **fact})
        self.of_task("task_started", task_id, started, attempt=1, mode="primary", served_by=None)

    def produced(self, task_id: str, text: str) -> None:
        example = event_schemas.example("partial_result")
        fields = {name: example[name] for name in example.keys() - {"step", "data", "text"}}
        event = {**fields, "task_id": task_id, "text": text, "piece": 1, "user_id": "ann"}
        self.at += 1
        self.offset += 1
        body = orjson.dumps(event)
        subject = tasks.subject_of(task_id)
        entry = Entry(self.offset, self.at, subject, "partial_result", (), False, body, body, None)
        self.state.apply(entry, event)

    def failed(self, task_id: str = "t1", error_id: str = "e1", **fields: Any) -> Outcome | None:
        given = {"error_id": error_id, "cause": "exception", **fields}
        return self.of_task("agent_error", task_id, given.pop("fact", None), **given)

    def finished(self, task_id: str = "t1", **fields: Any) -> Outcome | None:
        given = {"outcome": "succeeded", "error_id": None, **fields}
        return self.of_task("task_finished", task_id, given.pop("fact", None), **given)

    def registered(self, agent_id: str = "w1") -> None:
        fact = Registered(
            agents=(AgentPolicy("search"),), secret_digest="d", owner="ann", by_socket=True
        )
        subject = workers.subject_of(agent_id)
        self.tell("agent_registered", subject, fact, agent_id=agent_id, handle="writer")
