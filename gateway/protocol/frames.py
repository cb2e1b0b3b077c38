"""
WebSocket text frames as a server sends them: a header and the payload, never masked.

An event's frame is made once and written to every socket that is at the head (RFC 6455,
section 5.2). Whoever cannot take whole frames gets the payload back by ``payload_of``.
"""

from __future__ import annotations

__all__ = ["payloads_of", "text_frame"]

_TEXT_FINAL = 0x81
_ONE_BYTE_MAX = 125
_TWO_BYTES_MAX = 0xFFFF


def text_frame(payload: bytes) -> bytes:
    """Frame one UTF-8 text message."""
    size = len(payload)
    if size <= _ONE_BYTE_MAX:
        return bytes((_TEXT_FINAL, size)) + payload
    if size <= _TWO_BYTES_MAX:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def payloads_of(frames: bytes) -> list[bytes]:
    """Take joined frames apart again, for a server that makes frames itself."""
    payloads = []
    at = 0
    while at < len(frames):
        size = frames[at + 1]
        at += 2
        if size == _ONE_BYTE_MAX + 1:
            size = int.from_bytes(frames[at : at + 2], "big")
            at += 2
        elif size == _ONE_BYTE_MAX + 2:
            size = int.from_bytes(frames[at : at + 8], "big")
            at += 8
        payloads.append(frames[at : at + size])
        at += size
    return payloads
