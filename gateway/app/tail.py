"""``gateway tail``: shows events on a terminal, or as JSON lines for other programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import orjson
from rich.console import Console
from rich.text import Text

from gateway.app.reaching import START_ONE, WRONG_PLACE
from gateway.client.addresses import http_root, websocket_url
from gateway.client.connection import Connection, Refused, Subscribed
from gateway.domain.errors import ConfigurationError, GatewayError, InvalidParams
from gateway.domain.redaction import redact_text
from gateway.domain.stream import Position, parse_position
from gateway.domain.timestamps import seconds_of
from gateway.protocol.codes import CloseCode

__all__ = ["line_of", "lines_of", "tail"]

STYLES = {"info": "green", "warning": "yellow", "error": "red", "critical": "bold white on red"}
# A line shows this much of an event's text; --json shows all of it.
SAID_CHARS_MAX = 300


async def tail(
    topics: Sequence[str],
    *,
    since: str | None,
    as_json: bool,
    url: str,
    token: str | None,
    user_id: str | None,
    with_detail: bool = False,
) -> None:
    """
    Print events until cancelled.

    Args:
        topics: Topics to follow; empty: everything for an operator, otherwise the user's own.
        since: ``start`` or ``EPOCH:OFFSET``; None: from now on.
        as_json: One event a line, as JSON; otherwise for people.
        url: The gateway, ``ws://127.0.0.1:8000/ws`` or ``http://127.0.0.1:8000``.
        token: The bearer token; None: an open gateway.
        user_id: The user to act as on an open gateway; None: an operator.
        with_detail: Print beneath an event what operators alone see of it.

    Raises:
        ConfigurationError: If ``since`` or ``url`` cannot be read.
        GatewayError: If the gateway refuses this client.
    """
    url = websocket_url(url)
    console = Console(highlight=False, soft_wrap=True)
    notes = Console(stderr=True, highlight=False, soft_wrap=True)

    degraded = False

    def note(kind: str, told: Any) -> None:
        nonlocal degraded
        if kind == "heartbeat":
            was, degraded = degraded, "degradation" in told
            if degraded == was:
                return
        if (text := _note(kind, told)) is not None:
            if kind == "disconnected" and connection.reconnects < 0:
                text = f"{http_root(url)}: {text}; {START_ONE}"
            notes.print(Text(redact_text(text), style="dim"))

    connection = Connection(
        url,
        token=token,
        user_id=user_id,
        topics=topics or _own_topics,
        since=_since(since),
        client="gateway tail",
        on_notice=note,
    )
    try:
        async with connection:
            async for event in connection:
                if as_json:
                    sys.stdout.buffer.write(orjson.dumps(event) + b"\n")
                    sys.stdout.flush()
                else:
                    console.print(line_of(event))
                    if with_detail and event.get("detail"):
                        console.print(lines_of(event["detail"]))
    except Refused as error:
        raise GatewayError(_refusal(url, token, error)) from error


def _refusal(url: str, token: str | None, error: Refused) -> str:
    """Say in a sentence why there is no connection, and what to do about it."""
    root = http_root(url)
    if error.code in (CloseCode.invalid_token, CloseCode.not_permitted, CloseCode.token_expired):
        if token is None:
            return (
                f"{root}: it asks for a token; give one with --token-file or GATEWAY_TOKEN "
                "(`gateway token --user NAME --scope admin` makes one)"
            )
        return (
            f"{root}: {error.reason or 'it does not take this token'}; give another with "
            "--token-file or GATEWAY_TOKEN (`gateway token --user NAME --scope admin` makes one)"
        )
    if error.code < 1000:  # a status of HTTP
        what = "what answers there is no gateway"
        if error.code == 403:
            what = "there is no gateway at this path, or it does not let this client in"
        return f"{root}: {what}: HTTP {error.code}; {WRONG_PLACE}"
    return f"{root}: {error}"


def _own_topics(hello: Mapping[str, Any]) -> list[str]:
    """Everything for an operator, otherwise the user's own; the gateway says who one is."""
    return ["*"] if "admin" in hello["scopes"] else [f"user:{hello['user_id']}"]


def _since(text: str | None) -> Position | Literal["start"] | None:
    if text is None:
        return None
    if text == "start":
        return "start"
    try:
        position = parse_position(text, epoch="", field="--since")
    except InvalidParams:
        position = Position("", 0)
    if not position.epoch:
        raise ConfigurationError(f"--since has to be start or EPOCH:OFFSET, it is {text!r}")
    return position


def line_of(event: Mapping[str, Any]) -> Text:
    """Draw an event as one line: time, offset, severity, type, user, agent, task and text."""
    severity = event.get("severity", "info")
    line = Text()
    line.append(str(event["timestamp"])[11:23], style="dim")
    line.append(f" {event['offset']:>6} ", style="dim")
    line.append(f"{severity:<8} ", style=STYLES.get(severity, ""))
    line.append(f"{event['type']:<26} ", style="bold")
    about = " ".join(
        f"{label}={value}"
        for label, value in (
            ("user", event.get("user_id")),
            ("agent", event.get("agent_name")),
            ("task", (event.get("task_id") or "")[-8:]),
            ("attempt", event.get("attempt")),
        )
        if value
    )
    line.append(about, style="cyan")
    line.append(f"  {_said(event)}")
    return line


def lines_of(detail: Mapping[str, Any]) -> Text:
    """Draw what operators see of an event, a line for each value."""
    return Text("\n".join(f"    {line}" for line in _lines(detail)), style="dim")


def _lines(value: Any) -> Iterator[str]:
    pairs = value.items() if isinstance(value, Mapping) else (("-", each) for each in value)
    for name, each in pairs:
        if isinstance(each, Mapping | list) and each:
            yield f"{name}:" if name != "-" else name
            yield from (f"  {line}" for line in _lines(each))
        else:
            # A text of several lines is one; signs that a terminal would obey are written out.
            text = json.dumps(each, ensure_ascii=False)
            yield f"{name}: {text}" if name != "-" else f"- {text}"


def _said(event: Mapping[str, Any]) -> str:
    said = event.get("user_message") or event.get("text") or event.get("message") or ""
    # Who reads along has to know that the lines of text above do not count any more.
    anew = "(anew) " if event.get("replaces") is True else ""
    text = anew + str(said).replace("\n", " ") + _left(event)
    return text if len(text) <= SAID_CHARS_MAX else text[: SAID_CHARS_MAX - 1] + "…"


def _left(event: Mapping[str, Any]) -> str:
    """Say how long a task waits that does not move; "" for any other event."""
    if event["type"] != "task_waiting" or event.get("until") is None:
        return ""
    left_s = seconds_of(event["until"]) - seconds_of(event["timestamp"])
    return f" (in {max(0.0, left_s):.0f} s)"


def _note(kind: str, told: Any) -> str | None:
    match kind:
        case "subscribed":
            assert isinstance(told, Subscribed)
            if told.was_recovering and not told.recovered:
                return f"the history is no longer kept; following from {told.position}"
            if told.was_recovering:
                return f"caught up with {told.replayed} events at {told.position}"
            return f"following from {told.position}"
        case "disconnected":
            wait, reason = told.get("retry_in"), told.get("reason") or told.get("code")
            again = "" if wait is None else f", trying again in {wait:.1f} s"
            return f"not connected: {reason}{again}"
        case "gap":
            return f"gap: offsets {told.get('from')} to {told.get('to')} are no longer kept"
        case "heartbeat":
            degradation = told.get("degradation")
            return degradation["user_message"] if degradation else "everything is recorded again"
        case "drain":
            return "the gateway is going down, coming back when it does"
    return None
