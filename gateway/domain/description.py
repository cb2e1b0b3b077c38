"""
Description: an exception as operators read it.

This is the only place that keeps the text of an exception, for the ``detail`` of an event, which
only operators see. It is redacted, it is bounded, and making it never raises: a failure has to
be reported whatever was raised.
"""

from __future__ import annotations

import json
import traceback
from typing import Any

from gateway.domain.evidence import attribute, chain_of, headers_of, leaves_of, status_of
from gateway.domain.redaction import TEXT_CHARS_MAX, Redacted, clip, redact_text

__all__ = ["DETAIL_BYTES_MAX", "describe"]

# Bound of the whole detail as JSON. The event that carries it has to stay within 256 KiB.
DETAIL_BYTES_MAX = 16_384
TEXT_KEPT_MAX = 2_048
CAUSE_TEXT_KEPT_MAX = 512
FRAMES_MAX = 24
LEAVES_SHOWN_MAX = 8

_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-amzn-requestid", "x-ms-request-id")
# The parts of a detail that is over its bound are shortened in this order.
_LEAST_IMPORTANT_FIRST = ("leaves", "chain", "stack", "text")


def describe(error: BaseException) -> Redacted:
    """
    Make the detail of an exception.

    Returns:
        ``exception`` (its qualified name), ``text``, ``chain`` (its causes, outermost
        first, each with ``exception``, ``text`` and ``at``), ``stack`` (file, line and
        function of the last ``FRAMES_MAX`` frames, innermost last), and where they
        apply ``leaves`` (of a group), ``status`` and ``request_id`` (of the upstream).
        At most ``DETAIL_BYTES_MAX`` bytes of JSON.
    """
    try:
        return Redacted(_bounded(_describe(error)))
    except Exception:  # noqa: BLE001 - a poor detail is better than none
        return Redacted(
            {"exception": "unknown", "text": "[not readable]", "chain": [], "stack": []}
        )


def _describe(error: BaseException) -> dict[str, Any]:
    chain = list(chain_of(error))
    detail: dict[str, Any] = {
        "exception": _name_of(error),
        "text": _text_of(error, TEXT_KEPT_MAX),
        "chain": [_short(cause) for cause in chain[1:]],
        "stack": _stack_of(error),
    }
    if issubclass(type(error), BaseExceptionGroup):
        detail["leaves"] = [_short(leaf) for leaf in leaves_of(error, count_max=LEAVES_SHOWN_MAX)]
    for step in chain:
        if (status := status_of(step)) is not None:
            detail.setdefault("status", status)
        if (request_id := _request_id_of(step)) is not None:
            detail.setdefault("request_id", request_id)
    return detail


def _short(error: BaseException) -> dict[str, str]:
    stack = _stack_of(error)
    return {
        "exception": _name_of(error),
        "text": _text_of(error, CAUSE_TEXT_KEPT_MAX),
        "at": stack[-1] if stack else "",
    }


def _name_of(error: BaseException) -> str:
    cls = type(error)
    name = f"{attribute(cls, '__module__')}.{attribute(cls, '__qualname__')}"
    return _clean(name, 200)


def _text_of(error: BaseException, chars_max: int) -> str:
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - __str__ of unknown code; nothing is awaited here
        return "[not readable]"
    return _clean(text, chars_max)


def _clean(text: str, chars_max: int) -> str:
    # Redact before cutting: half a secret no longer looks like one. Lone surrogates are replaced,
    # since they cannot be written as JSON.
    text = str(text)[: 2 * TEXT_CHARS_MAX].encode("utf-8", "replace").decode()
    return clip(redact_text(text), chars_max)


def _stack_of(error: BaseException) -> list[str]:
    """List the frames without source lines, which would have to be read from files."""
    frames: list[str] = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        frames.append(_clean(f"{code.co_filename}:{line} in {code.co_qualname}", 240))
        del frames[:-FRAMES_MAX]
    return frames


def _request_id_of(error: BaseException) -> str | None:
    headers = headers_of(error)
    candidates = (attribute(error, "request_id"), *map(headers.get, _REQUEST_ID_HEADERS))
    return next((_clean(c, 128) for c in candidates if isinstance(c, str) and c), None)


def _bounded(detail: dict[str, Any]) -> dict[str, Any]:
    for part in _LEAST_IMPORTANT_FIRST:
        while len(json.dumps(detail)) > DETAIL_BYTES_MAX and detail.get(part):
            kept = detail[part]
            if isinstance(kept, str):
                detail[part] = clip(kept, len(kept) // 2)
            elif part == "stack":
                del kept[0]  # the outermost frame
            else:
                del kept[-1]
    return detail
