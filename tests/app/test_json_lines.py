"""The log as JSON: an object a line, with ids, without secrets."""

from __future__ import annotations

import json
import logging

import pytest

from gateway.app.logs import log_to_stderr
from gateway.domain.diagnostics import logger_of
from tests.domain.secret_samples import KEYS, fragments


@pytest.mark.usefixtures("process_kept")
def test_json_is_an_object_a_line_with_ids_and_without_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = KEYS["openai project"]
    log_to_stderr("info", "json")
    logger_of("gateway.test").warning("our key %s", key, extra={"task_id": "t1"})
    library = logging.getLogger("some.library")  # noqa: TID251 - not ours
    try:
        raise ValueError(key)
    except ValueError:
        library.exception("their key %s", key)
    said = capsys.readouterr().err
    ours, theirs = map(json.loads, said.splitlines())
    assert ours.pop("timestamp") <= theirs.pop("timestamp")
    assert ours == {
        "level": "WARNING",
        "logger": "gateway.test",
        "message": "our key [redacted:api-key]",
        "task_id": "t1",
    }
    assert (theirs["level"], theirs["message"]) == ("ERROR", "their key [redacted:api-key]")
    assert theirs["exc_info"].endswith("ValueError: [redacted:api-key]")
    assert [part for part in fragments(key) if part in said.replace("[redacted:api-key]", "")] == []
