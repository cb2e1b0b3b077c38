"""The log as JSON, an object a line, for what collects the logs of many processes."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from pythonjsonlogger.orjson import OrjsonFormatter

from gateway.domain.diagnostics import is_redacted, traceback_of
from gateway.domain.redaction import redact_text
from gateway.domain.timestamps import rfc3339

__all__ = ["JsonLines"]


class JsonLines(OrjsonFormatter):
    """
    Makes an object of a record.

    Args:
        usual: What records have beside their text and time that is not told.
    """

    def __init__(self, usual: Collection[str]) -> None:
        super().__init__(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger"},
            reserved_attrs=usual,
        )

    def add_fields(
        self,
        log_data: dict[str, Any],
        record: logging.LogRecord,
        message_dict: dict[str, Any],
    ) -> None:
        log_data["timestamp"] = rfc3339(record.created)
        super().add_fields(log_data, record, message_dict)
        if not is_redacted(record):
            for name, value in log_data.items():
                log_data[name] = redact_text(value) if isinstance(value, str) else value

    def formatException(self, ei: Any) -> str:
        return traceback_of(ei[1], ei[2])
