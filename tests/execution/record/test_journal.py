"""The journal: one line for each failure and its end, with ids, at the level that it deserves."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

import event_schemas
from gateway.domain.redaction import Redacted
from gateway.execution.record import journal
from tests.execution.record.room import Room

LOGGER = journal.logger.name


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


async def tell(room: Room, type: str, detail: dict[str, Any] | None = None, **fields: Any) -> None:
    """Append an event that is, but for these fields, as the schema's example."""
    example = event_schemas.example(type)
    event = {name: example[name] for name in example if name not in STAMPED} | fields
    event.pop("type")
    told = None if detail is None else Redacted(detail)
    draft = room.intake.draft(type, f"task/{event.get('task_id')}", detail=told, **event)
    await room.intake.append([draft])


STAMPED = ("detail", "schema_version", "event_id", "epoch", "offset", "timestamp")
ERROR_ID = "00000000-0000-7000-8000-0000000000e1"
DETAIL = {"exception": "builtins.KeyError", "text": "'x'", "stack": ["a.py:1 in f", "b.py:2 in g"]}


async def test_a_bug_in_an_agent_is_a_line_with_its_place_and_its_stack(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = Room()
    with caplog.at_level(logging.INFO, LOGGER):
        await tell(
            room,
            "agent_error",
            DETAIL,
            will_retry=False,
            error_code="agent_exception",
            error_type="processing_error",
            message="agent a, attempt 1: agent_exception (processing_error)",
            task_id="t1",
            error_id=ERROR_ID,
        )
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (
        "ERROR",
        "agent a, attempt 1: agent_exception (processing_error): builtins.KeyError: 'x' "
        "at b.py:2 in g; it is not tried again",
    )
    assert record.exc_text == "  at b.py:2 in g\n  at a.py:1 in f"
    assert (record.__dict__["task_id"], record.__dict__["error_id"]) == ("t1", ERROR_ID)
    assert record.__dict__["event"] == "agent_error"


async def test_an_exception_that_no_table_knows_is_counted_by_its_class() -> None:
    """Whether a line is written or not; one of ours is what the agent wanted to say."""
    room = Room()
    told = {"will_retry": False, "message": "m", "error_type": "processing_error"}
    for detail in (DETAIL, DETAIL, DETAIL | {"exception": "gateway.errors.NotRetryable"}, {}, None):
        await tell(room, "agent_error", detail, error_code="agent_exception", **told)
    await tell(room, "agent_error", DETAIL, error_code="llm_timeout", **told)
    assert room.meters.unknown.most(9) == [("builtins.KeyError", 2)]
    wrapped = DETAIL | {"chain": [{"exception": "builtins.OSError"}, {"exception": "shop.Closed"}]}
    await tell(room, "agent_error", wrapped, error_code="agent_exception", **told)
    assert room.meters.unknown.most(9)[-1] == ("shop.Closed", 1)


async def test_who_is_refused_so_often_is_named(caplog: pytest.LogCaptureFixture) -> None:
    for user in ("flood", "*"):
        await tell(Room(), "request_rejected", message="no", count=79, user_id=user)
    assert [text for _, text in lines(caplog)] == ["no (79 times) of user flood", "no (79 times)"]


async def test_how_a_process_ended_is_part_of_the_line(caplog: pytest.LogCaptureFixture) -> None:
    ended = {"process": "SIGKILL", "peak_bytes": 2 * 1024**3}
    for detail in (ended, {"process": "exit code 9"}, {"process": 9}):
        told = {"error_type": "agent_lost", "error_code": "process_lost", "message": "m"}
        await tell(Room(), "agent_error", detail, will_retry=True, **told)
    assert [text for _, text in lines(caplog)] == [
        "m: SIGKILL, 2048 MiB of memory at the most; it is tried again",
        "m: exit code 9; it is tried again",
        "m; it is tried again",
    ]


async def test_the_place_that_is_named_is_the_agents_own(caplog: pytest.LogCaptureFixture) -> None:
    own, library = "/srv/agents.py:7 in ask", "/srv/.venv/lib/python3.12/site-packages/x.py:1 in f"
    for stack, named in (([own, library], own), ([library], library)):
        caplog.clear()
        with caplog.at_level(logging.INFO, LOGGER):
            detail = DETAIL | {"stack": stack}
            await tell(Room(), "agent_error", detail, will_retry=True, message="m")
        ((_, line),) = lines(caplog)
        assert f" at {named};" in line


async def test_what_is_tried_again_is_a_warning_without_a_stack(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = Room()
    with caplog.at_level(logging.INFO, LOGGER):
        await tell(room, "agent_error", DETAIL, will_retry=True, severity="error", message="m")
        await tell(room, "agent_error", will_retry=False, severity="info", message="cancelled")
        theirs: dict[str, Any] = {"error_type": "invalid_input", "error_code": "invalid_input"}
        await tell(room, "agent_error", will_retry=False, severity="error", message="m", **theirs)
    record, of_input = caplog.records
    assert of_input.levelname == "WARNING"
    assert (record.levelname, record.exc_text) == ("WARNING", None)
    assert record.getMessage().endswith("b.py:2 in g; it is tried again")


async def test_a_line_is_one_line_that_moves_no_cursor_and_has_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = "x\n2026 ERROR forged\x1b[2J " + "y" * 10_000
    with caplog.at_level(logging.INFO, LOGGER):
        await tell(Room(), "agent_error", DETAIL | {"text": text}, will_retry=True, message="m")
    ((_, line),) = lines(caplog)
    assert line.isprintable()
    assert len(line) <= journal.LINE_CHARS_MAX


@pytest.mark.parametrize(
    ("type", "fields", "level"),
    [
        ("circuit_breaker_triggered", {"severity": "error"}, "ERROR"),
        ("circuit_breaker_triggered", {"severity": "critical"}, "CRITICAL"),
        ("task_dead_lettered", {"severity": "critical"}, "CRITICAL"),
        ("system_recovered", {"scope": "breaker"}, "INFO"),
        ("agent_status_changed", {"severity": "warning", "status": "suspect"}, "WARNING"),
        ("graceful_degradation", {"severity": "critical", "scope": "store"}, "WARNING"),
        ("resource_cleanup", {"cleanup_status": "failed", "severity": "warning"}, "WARNING"),
        ("request_rejected", {"severity": "warning"}, "WARNING"),
        ("lock_expired", {"severity": "warning"}, "WARNING"),
    ],
)
async def test_what_operators_have_to_know_is_a_line(
    caplog: pytest.LogCaptureFixture, type: str, fields: dict[str, Any], level: str
) -> None:
    with caplog.at_level(logging.INFO, LOGGER):
        await tell(Room(), type, message="so it is", **fields)
    ((said, text),) = lines(caplog)
    assert said == level
    assert text.startswith("so it is")


@pytest.mark.parametrize(
    ("type", "fields"),
    [
        ("task_submitted", {}),
        ("partial_result", {}),
        ("resource_cleanup", {"cleanup_status": "success"}),
        ("recovery_attempt", {}),
        ("system_recovered", {"scope": "mode"}),
        ("graceful_degradation", {"scope": "gateway"}),
    ],
)
async def test_what_goes_well_or_is_told_elsewhere_is_none(
    caplog: pytest.LogCaptureFixture, type: str, fields: dict[str, Any]
) -> None:
    with caplog.at_level(logging.DEBUG, LOGGER):
        await tell(Room(), type, message="m", **fields)
    assert lines(caplog) == []


async def test_a_flood_of_failures_is_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LINES_AT_ONCE", 3.0)
    room = Room()
    with caplog.at_level(logging.INFO, LOGGER):
        for _ in range(10):
            await tell(room, "agent_error", will_retry=True, message="m")
        room.clock.now += 1
        await tell(room, "agent_error", will_retry=True, message="m")
    said = [text for _, text in lines(caplog)]
    assert len(said) == 5
    assert said[3] == "7 lines were left out, there were too many"


def test_each_type_that_is_told_exists() -> None:
    assert set(journal.TOLD) <= set({*event_schemas.TYPES, *event_schemas.BOOKKEEPING_TYPES})


def test_the_page_about_logs_names_every_event_that_is_told() -> None:
    page = (Path(__file__).parents[3] / "docs" / "logs.md").read_text()
    assert {type for type in journal.TOLD if f"| `{type}` |" not in page} == set()
