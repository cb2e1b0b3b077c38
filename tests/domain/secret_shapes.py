"""Shapes of exceptions: where a text with a secret may be in what is raised."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from types import SimpleNamespace

from gateway.domain.agent_failures import RateLimited

__all__ = ["SHAPES"]


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
