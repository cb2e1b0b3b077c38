"""
Demands: what the declaration of an agent says of its exceptions, its results and its pauses.

They hold where the agent's code runs, in the gateway or in a worker, and so they do not travel.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.domain import own_failures
from gateway.domain.agent_failures import InvalidResponse
from gateway.domain.classification import classify
from gateway.domain.errors import ConfigurationError
from gateway.domain.failure import Failure
from gateway.domain.taught import Taught

__all__ = ["NONE", "Demands", "UnacceptableResult", "demands_of"]

# What cannot be the fault of an input: whoever names one would hide that the agent was stopped.
NEVER_EXCLUDED = (asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit)


class UnacceptableResult(InvalidResponse):
    """
    A result does not meet what the agent's declaration demands of it.

    Attributes:
        rule: The keyword of the JSON Schema that it breaks; ``predicate`` without one.
    """

    default_code = "unacceptable_result"

    def __init__(self, rule: str) -> None:
        super().__init__(f"the result does not meet accept=: {rule}")
        self.rule = rule


@dataclasses.dataclass(frozen=True, slots=True)
class Demands:
    """
    What is demanded of one agent, and of its fallback.

    Attributes:
        exclude: Exceptions that are the input's fault: not retried, and not counted.
        accept: Says whether a result will do; None: every result does.
        schema: Gives the keyword of a JSON Schema that a result breaks, None for a result that
            meets it; None: there is no schema.
        idle_s: Seconds that may pass without a piece and without progress; None: any number.
    """

    exclude: tuple[type[BaseException], ...] = ()
    accept: Callable[[Any], Any] | None = None
    schema: Callable[[Any], str | None] | None = None
    idle_s: float | None = None

    async def require(self, result: Any) -> None:
        """
        Return only if a result will do. What the predicate raises itself is raised.

        Args:
            result: As JSON.

        Raises:
            UnacceptableResult: If it will not.
        """
        if self.schema is not None:
            if (rule := self.schema(result)) is not None:
                raise UnacceptableResult(rule)
        elif self.accept is not None:
            answer = self.accept(result)
            if not (await answer if inspect.isawaitable(answer) else answer):
                raise UnacceptableResult("predicate")

    def classified(
        self, error: BaseException, *, now: float, llm_upstream: bool, taught: Taught
    ) -> Failure:
        """Tell what kind of failure an exception of the agent's code is; see ``classify``."""
        if isinstance(error, UnacceptableResult):
            return own_failures.unacceptable_result(error.rule)
        if self._excludes(error):
            return own_failures.excluded()
        return classify(error, now=now, llm_upstream=llm_upstream, taught=taught)

    def _excludes(self, error: BaseException) -> bool:
        if isinstance(error, BaseExceptionGroup):
            # A task group wraps what one of its tasks raised; of several all have to be excluded.
            return bool(self.exclude) and all(self._excludes(leaf) for leaf in error.exceptions)
        return isinstance(error, self.exclude)


NONE = Demands()


def demands_of(
    agent: str,
    *,
    exclude: type[BaseException] | Sequence[type[BaseException]] = (),
    accept: Callable[[Any], Any] | Mapping[str, Any] | None = None,
    idle_timeout: float | None = None,
) -> Demands:
    """
    Check what a declaration demands; the arguments are those of ``Gateway.agent``.

    Raises:
        ConfigurationError: If it cannot be meant; the message names agent and argument.
    """
    classes = (exclude,) if isinstance(exclude, type) else tuple(exclude)
    for wrong in classes:
        if not (isinstance(wrong, type) and issubclass(wrong, BaseException)):
            raise ConfigurationError(
                f"agent {agent}: exclude takes classes of exceptions, such as (ValueError,)"
            )
        if issubclass(wrong, NEVER_EXCLUDED) or wrong is BaseException:
            raise ConfigurationError(
                f"agent {agent}: exclude cannot name {wrong.__name__}, by which code is stopped"
            )
    if idle_timeout is not None and not (
        isinstance(idle_timeout, int | float) and idle_timeout > 0
    ):
        raise ConfigurationError(f"agent {agent}: idle_timeout has to be over 0 seconds")
    schema = None
    if isinstance(accept, Mapping):
        schema, accept = _rule_broken_by(agent, dict(accept)), None
    elif accept is not None and not callable(accept):
        raise ConfigurationError(
            f"agent {agent}: accept takes a function of the result, or a JSON Schema as a dict"
        )
    return Demands(classes, accept, schema, idle_timeout)


def _rule_broken_by(agent: str, schema: dict[str, Any]) -> Callable[[Any], str | None]:
    # Loaded for those that have a schema: it would be a tenth of each worker's start.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ConfigurationError(
            f"agent {agent}: accept is no JSON Schema: {error.message}"
        ) from error
    errors_of = Draft202012Validator(schema).iter_errors

    def rule(result: Any) -> str | None:
        broken = best_match(errors_of(result))
        return None if broken is None else str(broken.validator)

    return rule
