"""
Diagnostics: what the gateway says through Python's logging, without secrets.

Whose handlers write it down is not known: the gateway may be mounted in somebody's application. So
each record is redacted where it is made, by a filter of the logger itself, and a traceback goes on
as text only; a handler that would format the exception once more finds none.
"""

from __future__ import annotations

import logging
import traceback
from types import TracebackType

from gateway.domain.redaction import TEXT_CHARS_MAX, redact_text

__all__ = ["is_redacted", "logger_of", "traceback_of"]

# Of a traceback that is too long its end is kept, which says what happened, and a little of its
# beginning.
BEGINNING_CHARS = TEXT_CHARS_MAX // 8
ENDING_CHARS = TEXT_CHARS_MAX // 2


class _Redaction(logging.Filter):
    """Lets every record pass, redacted."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not is_redacted(record):
            record.msg, record.args = redact_text(_message_of(record)), None
            if record.exc_info and record.exc_info[1] is not None:
                record.exc_text = traceback_of(record.exc_info[1], record.exc_info[2])
            elif record.exc_text:
                record.exc_text = redact_text(record.exc_text)
            record.exc_info = None
            if record.stack_info:
                record.stack_info = redact_text(record.stack_info)
            record.__dict__[_MARK] = True
        return True


_MARK = "redacted"
_REDACTION = _Redaction()


def logger_of(name: str) -> logging.Logger:
    """Give the logger of a module, whose records have no secrets."""
    logger = logging.getLogger(name)  # noqa: TID251 - here they are made
    logger.addFilter(_REDACTION)  # once, however often
    return logger


def is_redacted(record: logging.LogRecord) -> bool:
    """Tell whether a record comes from a logger of ours."""
    return record.__dict__.get(_MARK, False) is True


def traceback_of(error: BaseException, trace: TracebackType | None) -> str:
    """Write down an exception with its causes and its stack, without secrets and within bounds."""
    try:
        text = "".join(traceback.format_exception(type(error), error, trace)).rstrip("\n")
    except Exception:  # noqa: BLE001 - from the code of others; that it failed has to be said
        text = f"{type(error).__name__}: it cannot be written down"
    if len(text) > TEXT_CHARS_MAX:
        begin = text.rfind("\n", 0, BEGINNING_CHARS) + 1
        end = text.find("\n", len(text) - ENDING_CHARS) + 1
        text = f"{text[:begin]}[truncated]\n{text[end:]}"
    return redact_text(text)


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a poor line is better than none
        return f"{record.msg} {record.args}"
