"""The policy of an agent: its limits and what it depends on, as its declaration says."""

from __future__ import annotations

import dataclasses

from gateway.domain.errors import ConfigurationError

__all__ = ["TIMEOUT_MAX_S", "AgentPolicy"]

# Seven days, in seconds: the longest that a task may take as well (``protocol.shapes.SECONDS``).
TIMEOUT_MAX_S = 86_400 * 7


@dataclasses.dataclass(frozen=True, slots=True)
class AgentPolicy:
    """
    How one agent's tasks are treated.

    Attributes:
        name: The agent's name.
        timeout_s: Limit of one attempt, in seconds.
        max_attempts: Attempts by the agent itself, the first included; 0: as the settings say.
        fallback: Name of the fallback; None: there is none.
        upstream: The model service that the agent calls; None: it calls none that we know of.
        breaker: Name of its breaker; agents that name the same breaker share it; empty: one of
            its own, named after the agent.
        capabilities: Names by which a task can ask for the agent instead of its own name.
        features: What users lose while the agent is away.

    Raises:
        ConfigurationError: On construction, if a limit is out of bounds; the message names the
            agent.
    """

    name: str
    timeout_s: float = 30.0
    max_attempts: int = 0
    fallback: str | None = None
    upstream: str | None = None
    breaker: str = ""
    capabilities: tuple[str, ...] = ()
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise ConfigurationError(f"agent {self.name}: timeout has to be over 0 seconds")
        if self.timeout_s > TIMEOUT_MAX_S:
            raise ConfigurationError(
                f"agent {self.name}: timeout has to be at most {TIMEOUT_MAX_S} seconds"
            )
        if self.max_attempts < 0:
            raise ConfigurationError(f"agent {self.name}: max_attempts has to be at least 1")
        if not self.breaker:
            object.__setattr__(self, "breaker", self.name)

    @property
    def breaker_scope(self) -> str:
        """``agent`` for a breaker of its own, ``upstream`` for a shared one."""
        return "agent" if self.breaker == self.name else "upstream"

    @property
    def budget(self) -> str:
        """Name of the retry budget: the upstream's, or the agent's own without an upstream."""
        return self.upstream or self.name
