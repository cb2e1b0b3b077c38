"""
Taught: what a program tells the gateway about exceptions of its own.

A rule names a class, or asks a predicate, and says the code. It comes before every table, for
each exception of a chain and for each leaf of a group; of several rules that fit an exception the
first one counts. What follows from a code is in ``error_codes``, as for all others, so that the
verdict is the same when a worker reports the failure over the wire.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from gateway.domain.error_codes import CODES, TYPES, failure_with
from gateway.domain.errors import ConfigurationError
from gateway.domain.evidence import attribute
from gateway.domain.failure import Failure
from gateway.domain.retry_hints import retry_after_of_value

__all__ = ["RULES_MAX", "Rule", "Taught", "rule"]

# Each is asked for each exception of a chain that failed.
RULES_MAX = 1_000

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")

Delay = float | Callable[[BaseException], object] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """
    What a class or a predicate stands for; made by ``rule``.

    Attributes:
        which: A class of exceptions, or a predicate.
        error_code: The exact kind.
        error_type: The class of failure.
        retry_after: Seconds, or a function of the exception that gives any form of a delay.
    """

    which: type[BaseException] | Callable[[BaseException], object]
    error_code: str
    error_type: str
    retry_after: Delay

    def fits(self, error: BaseException) -> bool:
        """Whether the rule is about this exception; a predicate that fails says no."""
        if isinstance(self.which, type):
            return issubclass(type(error), self.which)
        try:
            return bool(self.which(error))
        except Exception:  # noqa: BLE001 - a predicate must not hide the failure that it is asked about
            return False

    def failure(self, error: BaseException, *, now: float) -> Failure:
        """Make the failure; ``now``: seconds since the Unix epoch."""
        said: object = self.retry_after
        if callable(said):
            try:
                said = said(error)
            except Exception:  # noqa: BLE001 - the same
                said = None
        if said is None:
            said = attribute(error, "retry_after")
        return failure_with(
            self.error_code,
            error_type=self.error_type,
            retry_after_s=retry_after_of_value(said, now=now),
        )


def rule(
    which: type[BaseException] | Callable[[BaseException], object],
    *,
    error_code: str,
    error_type: str | None = None,
    retry_after: Delay = None,
    retryable: bool | None = None,
) -> Rule:
    """
    Make a rule.

    Args:
        which: A class of exceptions, or a predicate.
        error_code: A code of the table, or one of the program's own.
        error_type: The class of failure; None: the code's own; of a code that is in no table
            ``service_unavailable`` when it is retried, else ``processing_error``.
        retry_after: Seconds, or a function of the exception; None: its own ``retry_after``.
        retryable: Whether the gateway tries again by itself; None: as the code or type has it.

    Raises:
        ConfigurationError: If a value is not possible, or the verdict is not the code's.
    """
    if not _CODE.fullmatch(error_code):
        raise ConfigurationError(f"error_code {error_code!r} has to match {_CODE.pattern}")
    if not callable(which):
        raise ConfigurationError("classify takes a class of exceptions or a predicate")
    if isinstance(which, type) and not issubclass(which, BaseException):
        raise ConfigurationError(f"{which.__name__} is no class of exceptions")
    if error_type is None:
        known = CODES.get(error_code)
        unknown = "service_unavailable" if retryable else "processing_error"
        error_type = known.error_type if known is not None else unknown
    if error_type not in TYPES:
        raise ConfigurationError(f"error_type {error_type!r} is none of {', '.join(TYPES)}")
    follows = failure_with(error_code, error_type=error_type).retryable
    if retryable is not None and retryable != follows:
        raise ConfigurationError(
            f"{error_code} ({error_type}) is {'' if follows else 'not '}tried again:"
            " choose another error_code or error_type, or leave retryable out"
        )
    return Rule(which, error_code, error_type, retry_after)


class Taught:
    """The rules of one program, in the order in which they were made."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, made: Rule) -> None:
        """
        Add a rule.

        Raises:
            ConfigurationError: If there are ``RULES_MAX`` already.
        """
        if len(self._rules) >= RULES_MAX:
            raise ConfigurationError(f"there are {RULES_MAX} rules already")
        self._rules.append(made)

    def failure_of(self, error: BaseException, *, now: float) -> Failure | None:
        """Classify one exception, without its causes; None: no rule is about it."""
        for each in self._rules:
            if each.fits(error):
                return each.failure(error, now=now)
        return None
