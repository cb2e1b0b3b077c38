"""
A failure as the gateway understands it: a class, an exact kind, and what follows from them.

``classification`` makes it from an exception, ``own_failures`` where nothing was raised (a limit
ran out, a breaker is open). Everything in it is known fact; nothing is exception text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

__all__ = ["COUNTED_TYPES", "RETRIED_TYPES", "Failure"]

# The types that the gateway retries by itself. A single code of these may be exempt.
RETRIED_TYPES = frozenset(
    {
        "timeout",
        "rate_limit",
        "network_error",
        "service_unavailable",
        "validation_error",
        "database_error",
        "agent_lost",
    }
)

# The types that count as a failed outcome against breakers and health. The others are the
# caller's doing (invalid_input, content_refused, cancelled), a configuration (auth_error),
# or our own refusal (circuit_open).
COUNTED_TYPES = frozenset(
    {
        "timeout",
        "rate_limit",
        "network_error",
        "service_unavailable",
        "validation_error",
        "database_error",
        "processing_error",
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """
    One classified failure.

    Attributes:
        error_type: The class, low cardinality (``timeout``, ``rate_limit``, …).
        error_code: The exact kind (``llm_timeout``, ``quota_exhausted``, …).
        retryable: The gateway may try again by itself.
        retry_possible: The user may try again.
        is_recoverable: It can get well without a change by the user.
        suggested_action: What the user can do: wait, retry, retry_later, shorten_input,
            sign_in_again, contact_support, none.
        retry_after_s: Seconds until the upstream wants to be asked again; None: not said.
        facts: Known facts for the developers' message (status, limit_s, …); never exception text.
        counted: Whether a failure of a counted type counts; a caller's own deadline does not.
        spared: Whether the attempt is not counted as one of the task's: it may only have stood by
            when something else ended its process.
    """

    error_type: str
    error_code: str
    retryable: bool
    retry_possible: bool
    is_recoverable: bool
    suggested_action: str
    retry_after_s: float | None = None
    facts: Mapping[str, str | int | float] = dataclasses.field(default_factory=dict)
    counted: bool = True
    spared: bool = False

    @property
    def counts(self) -> bool:
        """Whether a breaker counts this failure as a failed outcome."""
        return self.counted and self.error_type in COUNTED_TYPES
