"""
Agents that fail with secrets in what they raise, each sample in one of many shapes.

Run by ``gateway serve tests.scenarios.leaky_agents:gateway``, and the others by ``gateway work
tests.scenarios.leaky_agents:worker``. The input says which secret; the secret itself is in nothing
that anybody sends.
"""

from __future__ import annotations

from typing import Any

from gateway import Gateway, Task
from gateway.errors import InvalidInput
from tests.domain.secret_samples import SECRETS
from tests.domain.secret_shapes import SHAPES

__all__ = ["AGENTS", "gateway", "text_of", "worker"]

# So many of each kind, since failures in a row open an agent's breaker.
AGENTS = 60

gateway, worker = Gateway(), Gateway()


def text_of(number: int) -> str:
    """A text with one secret in it."""
    return SECRETS[number % len(SECRETS)][1]


def error_of(number: int) -> BaseException:
    return SHAPES[number % len(SHAPES)](text_of(number))


async def leak(task: Task, number: int) -> None:
    """Fail in the event loop."""
    raise error_of(number)


def leak_in_a_thread(task: Task, number: int) -> None:
    """Fail in a thread."""
    raise error_of(number)


async def leak_after_cause(task: Task, number: int) -> None:
    """Fail for a reason that counts against nobody."""
    raise InvalidInput(text_of(number)) from error_of(number)


def leak_while_cleaning(task: Task) -> None:
    """Fail after the end, too: nobody but the log is told of that."""
    raise error_of(sum(task.task_id.encode()))


for number in range(AGENTS):
    function: Any = (leak, leak_in_a_thread)[number % 2]
    options: dict[str, Any] = {"max_attempts": 1, "cleanup": [leak_while_cleaning]}
    gateway.agent(f"leaky-{number}", **options)(function)
    worker.agent(f"away-{number}", **options)(leak_after_cause)
