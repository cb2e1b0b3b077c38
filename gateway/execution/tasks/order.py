"""An order: what a caller asks for, before it is a task."""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from typing import Any

import orjson

from gateway.domain.task import Task

__all__ = ["Order"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """
    What a caller asks for: a task before it exists.

    Attributes:
        agent_name: The agent that is to do it; None: any that has ``capability``.
        input: As JSON, measured already.
        user_id: The task's owner.
        timeout_s: The caller's own deadline in seconds, waiting included.
        max_attempts: Attempts by the agent itself, the first included.
        retry_of: The task that this one repeats; None: it repeats none.
        reserved_for: agent_id of the one process that may take it; None: any may.
    """

    agent_name: str | None
    input: Any
    user_id: str
    priority: int = 5
    timeout_s: float
    max_attempts: int
    capability: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    retry_of: str | None = None
    traceparent: str | None = None
    idempotency_key: str | None = None
    reserved_for: str | None = None

    @classmethod
    def again(cls, task: Task) -> Order:
        """Ask once more for what an ended task was about."""
        return cls(
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

    @property
    def fingerprint(self) -> str:
        """
        A digest of what is asked, to tell an idempotency key used twice for different things.

        The same through every door, whether a default was spelled out or not.
        """
        asked = (
            self.agent_name,
            self.capability,
            self.input,
            self.priority,
            float(self.timeout_s),
            self.max_attempts,
            self.correlation_id,
            self.causation_id,
        )
        return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]

    def id_by_key(self, use: int) -> str:
        """
        The id of the task that the idempotency key stands for: a UUID, version 8 (RFC 9562).

        Callers that use the same key, on any node and at the same moment, make the same task, so
        that only one of them does.

        Args:
            use: Which use of the key it is, from 0: a key may be used again once the task that it
                stood for is not kept any more.
        """
        digest = hashlib.sha256(orjson.dumps((self.user_id, self.idempotency_key, use))).digest()
        number = int.from_bytes(digest[:16], "big")
        number = number & ~(0xF << 76) | (8 << 76)  # version
        number = number & ~(0b11 << 62) | (0b10 << 62)  # variant
        return str(uuid.UUID(int=number))
