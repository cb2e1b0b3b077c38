"""A recording is checked line by line: is it JSON, is it an event, does it keep the rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

import event_schemas
from gateway.app.check import FINDINGS_MAX, check_lines


def line(kind: str, offset: int, **fields: Any) -> str:
    """The schema's own example, at another place in the log."""
    event_id = f"019abb2f-0000-7000-8000-{offset:012}"
    stamp = {"epoch": "e1", "offset": offset, "event_id": event_id}
    return json.dumps({**event_schemas.example(kind), **stamp, **fields})


def places(
    lines: list[bytes | str] | list[str], *, complete: bool = False
) -> list[tuple[int, str]]:
    return [
        (found.position, found.rule) for found in check_lines(lines, complete=complete).findings
    ]


@pytest.mark.parametrize("kind", event_schemas.TYPES)
def test_an_event_of_any_type_that_complies_is_no_finding(kind: str) -> None:
    report = check_lines([line(kind, 1).encode() + b"\n"])
    assert report.ok, report.findings
    assert report.events == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type": ', "not JSON: "),
        ('{"offset": NaN}', "not JSON: "),
        ('{"offset": 1e999}', "not JSON: "),
        (b'{"type": "\xff"}', "not JSON: str is not valid UTF-8"),
        ('{"a":' * 100_000, "not JSON: depth limit"),
        ("[" * 1000 + "]" * 1000, "not a JSON object"),
        ("42", "not a JSON object"),
        ("{} {}", "not JSON: unexpected content"),
    ],
)
def test_a_line_that_is_no_json_object_is_named_and_the_rest_is_read(
    text: bytes | str, message: str
) -> None:
    report = check_lines([line("task_started", 1), text, line("task_started", 1)])
    first, *others = report.findings
    assert (first.position, first.offset, first.rule) == (2, None, "json")
    assert first.message.startswith(message)
    assert {found.position for found in others} == {3}


def test_a_violation_names_line_type_field_and_rule() -> None:
    report = check_lines([line("agent_error", 1, severity="mild", is_recoverable="yes")])
    assert [(found.position, found.offset, found.rule) for found in report.findings] == [
        (1, 1, "schema"),
        (1, 1, "schema"),
    ]
    messages = sorted(found.message for found in report.findings)
    assert messages[0].startswith("agent_error: is_recoverable must be of type boolean")
    assert messages[1].startswith("agent_error: severity must be one of info, warning")


@pytest.mark.parametrize("kind", ['"agent_death"', "null", "7", "[]"])
def test_an_unknown_type_is_a_finding(kind: str) -> None:
    assert places([f'{{"type": {kind}, "epoch": "e1", "offset": 1}}']) == [(1, "schema")]


def test_an_object_without_a_type_is_a_finding() -> None:
    report = check_lines(['{"epoch": "e1", "offset": 1}'])
    assert [found.message for found in report.findings] == ["there is no type"]


def test_findings_of_the_rules_over_time_name_the_line() -> None:
    """Empty lines and other frames count as lines, so that an editor finds the place."""
    lines = ["", '{"jsonrpc": "2.0", "id": 1, "result": {}}', line("task_finished", 5), "\n"]
    lines += [line("task_progress", 4)]
    assert set(places(lines)) == {(5, "offsets-grow"), (5, "nothing-after-finished")}


def test_a_task_open_at_the_end_is_a_finding_only_in_a_complete_recording() -> None:
    lines = [line("task_submitted", 1)]
    assert places(lines) == []
    assert places(lines, complete=True) == [(1, "exactly-one-task-finished")]


GAP = '{"jsonrpc": "2.0", "method": "gap", "params": {"from": 2, "to": 9}}'
NOT_RESUMED = '{"jsonrpc": "2.0", "id": 2, "result": {"was_recovering": true, "recovered": false}}'


@pytest.mark.parametrize("frame", [GAP, NOT_RESUMED])
def test_a_task_that_may_have_ended_in_a_gap_is_not_open(frame: str) -> None:
    report = check_lines([line("task_submitted", 1), frame], complete=True)
    assert report.ok
    assert (report.events, report.frames, report.gaps) == (1, 1, 1)


@pytest.mark.parametrize(
    "frame",
    [
        '{"jsonrpc": "2.0", "method": "heartbeat", "params": {"offset": 1}}',
        '{"jsonrpc": "2.0", "id": 2, "result": {"was_recovering": true, "recovered": true}}',
        '{"jsonrpc": "2.0", "id": 2, "result": {"was_recovering": false, "recovered": false}}',
        '{"jsonrpc": "2.0", "id": 2, "error": {"code": -32601}}',
    ],
)
def test_other_frames_are_passed_over(frame: str) -> None:
    report = check_lines([line("task_submitted", 1), frame], complete=True)
    assert (report.frames, report.gaps) == (1, 0)
    assert not report.ok


def test_a_file_that_is_no_recording_has_a_bounded_report() -> None:
    report = check_lines("no recording\n" for _ in range(FINDINGS_MAX + 2))
    assert len(report.findings) == FINDINGS_MAX
    assert report.findings_left_out == 2
