"""
The log of a command's process, on stderr: lines for people, or one JSON object a line.

Every line carries what it is about beside its text, so that one search finds all that was said of
a task, a failure or a connection. Nothing here is used by a gateway that is mounted in somebody's
application: its lines go where that application's go.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from gateway.domain.diagnostics import is_redacted, traceback_of
from gateway.domain.redaction import redact_text
from gateway.domain.timestamps import rfc3339

__all__ = ["USUAL", "log_to_stderr"]

# What a record has beside those of its own that every record has: given with ``extra``.
USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"redacted", "message", "asctime"}


def log_to_stderr(level: str, form: str = "text") -> None:
    """
    Log to stderr, without secrets.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        form: ``text``, or ``json``: an object a line, with ``timestamp``, ``level``, ``logger``,
            ``message``, the ids that the line has, and ``exc_info`` where there is a stack.
    """
    handler = logging.StreamHandler()
    if form == "json":
        from gateway.app.json_lines import JsonLines  # a worker's keeper stays small

        handler.setFormatter(JsonLines(USUAL))
    else:
        handler.setFormatter(_Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # uvicorn's lines at INFO say what our own lines say better.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # noqa: TID251 - not ours


class _Text(logging.Formatter):
    """A line for people; its ids stand at the end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-8s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return rfc3339(record.created)

    def formatMessage(self, record: logging.LogRecord) -> str:
        beside = "".join(f" {name}={value}" for name, value in _ids(record))
        return super().formatMessage(record) + (f"  [{beside.strip()}]" if beside else "")

    def formatException(self, ei: Any) -> str:
        return traceback_of(ei[1], ei[2])

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        # Those of libraries have not been through our filter.
        return text if is_redacted(record) else redact_text(text)


def _ids(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in vars(record).items() if name not in USUAL)
