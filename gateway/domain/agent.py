"""What is declared about an agent: its limits and what it depends on."""

from __future__ import annotations

import dataclasses

from gateway.domain.errors import ConfigurationError

__all__ = ["TIMEOUT_MAX_S", "AgentPolicy"]

# As long as a task may take.
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
        upstream: The model service that it calls; None: it calls none that we know of.
        breaker: Name of its breaker; agents that name the same one share it.
        capabilities: What it can be asked for instead of by name.
        features: What users lose while it is away.
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
        """Whether its breaker is its own or an upstream's."""
        return "agent" if self.breaker == self.name else "upstream"

    @property
    def budget(self) -> str:
        """Whose retry budget its retries are taken from."""
        return self.upstream or self.name
