"""
Compliance of a recording: checks each line, each event, and the rules over time.

A recording holds what one subscriber received, one JSON object a line. It may hold frames that are
no events (``jsonrpc``: replies, heartbeats). They are skipped, with two exceptions: a ``gap``, and
a reply that refuses to resume, say that events are missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

import event_schemas
from gateway.domain.compliance import Finding, StreamChecker

__all__ = ["FINDINGS_MAX", "Report", "check_lines"]

# A file that is no recording has a finding in every line; more than these help no reader.
FINDINGS_MAX = 1000


@dataclasses.dataclass(slots=True)
class Report:
    """
    What was checked and what was found.

    Attributes:
        events: How many events were read.
        frames: How many other frames were skipped.
        gaps: How many times the subscriber was told that it missed events.
        findings: What is wrong, in the order of the lines; ``position`` is the line, from 1.
            Beside the rules over time there are the rules ``json`` and ``schema``.
        findings_left_out: How many findings beyond ``FINDINGS_MAX`` are not listed.
    """

    events: int = 0
    frames: int = 0
    gaps: int = 0
    findings: list[Finding] = dataclasses.field(default_factory=list)
    findings_left_out: int = 0

    @property
    def ok(self) -> bool:
        """Whether there is no finding."""
        return not self.findings

    def _add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if len(self.findings) < FINDINGS_MAX:
                self.findings.append(finding)
            else:
                self.findings_left_out += 1


def check_lines(lines: Iterable[bytes | str], *, complete: bool = False) -> Report:
    """
    Check a recording, line by line.

    Args:
        lines: JSON objects, one a line; empty lines are skipped. One line is held at a time.
        complete: Whether the recording goes to the end of its log; if so, a task or failure that
            is still open is a finding.
    """
    report = Report()
    checker = StreamChecker()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        frame = _parse(line)
        if isinstance(frame, str):
            report._add([Finding(number, None, "json", frame)])
        elif "jsonrpc" in frame:
            report.frames += 1
            if _tells_of_missing_events(frame):
                report.gaps += 1
                checker.gap()
        else:
            report.events += 1
            report._add(_violations(frame, number))
            report._add(checker.feed(frame, position=number))
    if complete:
        report._add(checker.finish())
    report.findings.sort(key=lambda finding: finding.position)
    return report


def _parse(line: bytes | str) -> dict[str, Any] | str:
    """Give the object in this line, or a text that says what is wrong with the line."""
    # orjson refuses NaN and Infinity, invalid UTF-8, and nesting that would exhaust the stack.
    try:
        frame = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error.msg} at column {error.colno}"
    return frame if isinstance(frame, dict) else "not a JSON object"


def _tells_of_missing_events(frame: Mapping[str, Any]) -> bool:
    result = frame.get("result")
    return frame.get("method") == "gap" or (
        isinstance(result, dict)
        and result.get("was_recovering") is True
        and result.get("recovered") is False
    )


def _violations(event: Mapping[str, Any], number: int) -> Iterable[Finding]:
    offset = event.get("offset")
    place = offset if isinstance(offset, int) else None
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in event_schemas.TYPES:
        known = f"type {kind!r:.80} is not known" if "type" in event else "there is no type"
        return [Finding(number, place, "schema", known)]
    validator = event_schemas.validator(kind)
    if validator.is_valid(event):  # A thousand times faster than listing violations.
        return []
    return [
        Finding(number, place, "schema", f"{kind}: {violation.field} {violation.message}")
        for violation in validator.violations(event)
    ]
