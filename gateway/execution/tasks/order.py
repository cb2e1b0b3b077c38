"""
An order: what a caller asks for, before it is a task.

Under an idempotency key an order makes one task, however often it is sent: the key gives the task
its id.
"""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from typing import Any

import orjson

from gateway.domain.dead_letter import DeadLetter
from gateway.domain.facts import Submitted
from gateway.domain.packed import opened
from gateway.domain.task import Task

__all__ = ["Order"]

CONTEXT = ("correlation_id", "causation_id", "traceparent")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """
    What a caller asks for.

    Attributes:
        agent_name: The agent that is asked; None: any agent that has ``capability``.
        input: As JSON, measured already.
        user_id: The task's owner.
        priority: From 0, the most urgent, to 10.
        timeout_s: The caller's own deadline in seconds, waiting included.
        max_attempts: Attempts by the agent itself, the first included.
        causation_id: event_id of the event that made the caller ask; None: none did.
        retry_of: The task that this one repeats; None: it repeats none.
        title: What the caller calls it, for people; None: nothing.
        idempotency_key: The caller's name for this order; None: each call is a new order.
        reserved_for: agent_id of the one process that may take the task; None: any may.
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
    title: str | None = None
    idempotency_key: str | None = None
    reserved_for: str | None = None

    @classmethod
    def again(cls, task: Task | DeadLetter) -> Order:
        """Make the order of an ended task once more; it is caused by that task's end."""
        return cls(
            agent_name=task.agent_name,
            capability=task.capability,
            input=opened(task.input),
            user_id=task.user_id,
            priority=task.priority,
            timeout_s=task.timeout_s,
            max_attempts=task.max_attempts,
            correlation_id=task.correlation_id,
            causation_id=task.finished_event_id,
            retry_of=task.task_id,
            title=task.title,
        )

    @property
    def fact(self) -> Submitted:
        """What of it is hidden in the event that accepts it."""
        return Submitted(
            input=self.input,
            idempotency_key=self.idempotency_key,
            fingerprint="" if self.idempotency_key is None else self.fingerprint,
            reserved_for=self.reserved_for,
            title=self.title,
        )

    @property
    def context(self) -> dict[str, Any]:
        """What ties it to the rest of what its caller does, as far as it is said."""
        said = {name: getattr(self, name) for name in CONTEXT}
        return {name: value for name, value in said.items() if value is not None}

    @property
    def fingerprint(self) -> str:
        """
        A digest of what is asked; it tells an idempotency key that is used for two orders.

        It is the same through every door, whether the caller spelled a default out or not.
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
        Give the id of the task that the idempotency key stands for.

        It is a UUID of version 8, the version for ids that are computed (RFC 9562, section 5.8).
        Callers with the same key, on any node and at the same moment, ask for the same task, and
        the log takes it once.

        Args:
            use: Number of the use of the key, from 0. A key may be used again when the task that
                it stood for is not kept any more.
        """
        digest = hashlib.sha256(orjson.dumps((self.user_id, self.idempotency_key, use))).digest()
        number = int.from_bytes(digest[:16], "big")
        number = number & ~(0xF << 76) | (8 << 76)  # version
        number = number & ~(0b11 << 62) | (0b10 << 62)  # variant
        return str(uuid.UUID(int=number))
