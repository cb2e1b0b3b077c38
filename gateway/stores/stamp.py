"""
Stamping: a draft becomes an entry when the log gives it a place and a time.

The stamps are spliced into the encoded event, so that an event is encoded once in its life
(decision 3 in CONTRIBUTING.md).
"""

from __future__ import annotations

from gateway.domain.timestamps import rfc3339
from gateway.ports import Draft, Entry

__all__ = ["entry_of", "stamp"]


def stamp(draft: Draft, *, epoch: str, offset: int, at: float) -> Entry:
    """
    Make the entry of ``draft``.

    Args:
        draft: The accepted draft; its body is a JSON object with at least one member.
        epoch: The log's name, without any character that JSON would escape.
        offset: The place in the log.
        at: When the log accepted it, in seconds since the Unix epoch.
    """
    return entry_of(epoch, offset, at, *draft)


def entry_of(
    epoch: str,
    offset: int,
    at: float,
    subject: str,
    type: str,
    topics: tuple[str, ...],
    operators_only: bool,
    body: bytes,
    detail: bytes | None,
    state: bytes | None,
) -> Entry:
    """Make the entry of a draft that was never made: of its fields, as they were stored."""
    stamps = f'{{"epoch":"{epoch}","offset":{offset},"timestamp":"{rfc3339(at)}",'.encode()
    public = stamps + body[1:]
    operator = public if detail is None else public[:-1] + b',"detail":' + detail + b"}"
    return Entry(offset, at, subject, type, topics, operators_only, public, operator, state)
