"""
Agents that fail with secrets in what they raise, each sample in one of many shapes.

Run by ``gateway serve tests.scenarios.leaky_agents:gateway``, and the others by ``gateway work
tests.scenarios.leaky_agents:worker``. The input says which secret; the secret itself is in nothing
that anybody sends.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from gateway import Gateway, Task
from gateway.errors import InvalidInput, RateLimited
from tests.domain.secret_samples import SECRETS

__all__ = ["AGENTS", "gateway", "text_of", "worker"]

# So many of each kind, since failures in a row open an agent's breaker.
AGENTS = 60

gateway, worker = Gateway(), Gateway()


def text_of(number: int) -> str:
    """A text with one secret in it."""
    return SECRETS[number % len(SECRETS)][1]


class UpstreamError(Exception):
    """As the SDKs of model services raise them: everything that was sent and answered is there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.status_code = 401
        self.body = {"error": {"message": text, "type": text, "code": text}}
        headers = {"x-request-id": text, "authorization": text, "retry-after": text}
        self.response = SimpleNamespace(headers=headers, status_code=401)
        self.request = SimpleNamespace(headers={"authorization": text}, url=text)
        self.request_id = text


def _caused(text: str) -> BaseException:
    error = RuntimeError("it failed")
    error.__cause__ = ValueError(text)
    return error


def _suppressed(text: str) -> BaseException:
    error = KeyError("name")
    error.__context__ = OSError(13, text, text)
    return error


def _noted(text: str) -> BaseException:
    error = LookupError("see the note")
    error.add_note(text)
    return error


SHAPES: tuple[Callable[[str], BaseException], ...] = (
    ValueError,
    KeyError,
    UpstreamError,
    RateLimited,
    _caused,
    _suppressed,
    _noted,
    lambda text: ExceptionGroup("some", [ValueError(text), ExceptionGroup("in", [OSError(text)])]),
    lambda text: subprocess.CalledProcessError(22, ["curl", text], text.encode(), text),
    lambda text: json.JSONDecodeError(text, text, 0),
    lambda text: RuntimeError({"headers": {"authorization": text}, "said": [text]}),
    lambda text: RuntimeError("word " * 600 + text, text.encode()),
)


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
