"""
Stamping: a draft becomes an entry when the log gives it a place and a time.

The stamps are spliced into the encoded event, so that an event is encoded once in its life
(decision 3 in CONTRIBUTING.md).
"""

from __future__ import annotations

from gateway.domain.timestamps import rfc3339
from gateway.ports import Draft, Entry

__all__ = ["stamp"]


def stamp(draft: Draft, *, epoch: str, offset: int, at: float) -> Entry:
    """
    Make the entry of ``draft``.

    Args:
        draft: The accepted draft; its body is a JSON object with at least one member.
        epoch: The log's name, without any character that JSON would escape.
        offset: The place in the log.
        at: When the log accepted it, in seconds since the Unix epoch.
    """
    stamps = f'{{"epoch":"{epoch}","offset":{offset},"timestamp":"{rfc3339(at)}",'.encode()
    public = stamps + draft.body[1:]
    operator = public if draft.detail is None else public[:-1] + b',"detail":' + draft.detail + b"}"
    return Entry(
        offset=offset,
        at=at,
        subject=draft.subject,
        type=draft.type,
        topics=draft.topics,
        operators_only=draft.operators_only,
        public=public,
        operator=operator,
        state=draft.state,
    )
