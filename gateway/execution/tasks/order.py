"""An order: what somebody asks for, before it is a task."""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from typing import Any

import orjson

__all__ = ["Order"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """
    What somebody asks for: a task before it exists.

    Attributes:
        agent_name: Who is to do it.
        input: As JSON, measured already.
        user_id: Whose task it is.
        timeout_s: The caller's own deadline, waiting included.
        reserved_for: agent_id that alone may take it; None: whoever is first.
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

        Whoever asks with the same key, on any node and at the same moment, makes the same task,
        and so only one of them does.

        Args:
            use: Which use of the key it is, from 0: a key may be used again when what it stood
                for is forgotten.
        """
        digest = hashlib.sha256(orjson.dumps((self.user_id, self.idempotency_key, use))).digest()
        number = int.from_bytes(digest[:16], "big")
        number = number & ~(0xF << 76) | (8 << 76)  # version
        number = number & ~(0b11 << 62) | (0b10 << 62)  # variant
        return str(uuid.UUID(int=number))
