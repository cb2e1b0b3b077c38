"""
WebSocket text frames as a server sends them: a header and the payload, never masked.

An event's frame is made once and written to every socket that is at the head (decision 3). The
format is that of RFC 6455, section 5.2; frames from a server are not masked (5.1). For a server
that makes frames itself, ``payloads_of`` gives the payloads back.
"""

from __future__ import annotations

__all__ = ["payloads_of", "text_frame"]

# The first byte of a final text frame: FIN and opcode 1.
_TEXT_FINAL = 0x81
# The longest payloads whose length takes one byte, or two more after 126; else eight follow 127.
_ONE_BYTE_MAX = 125
_TWO_BYTES_MAX = 0xFFFF


def text_frame(payload: bytes) -> bytes:
    """Frame one text message, given as UTF-8."""
    size = len(payload)
    if size <= _ONE_BYTE_MAX:
        return bytes((_TEXT_FINAL, size)) + payload
    if size <= _TWO_BYTES_MAX:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def payloads_of(frames: bytes) -> list[bytes]:
    """Give the payloads of several frames of ``text_frame``, one after the other."""
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
