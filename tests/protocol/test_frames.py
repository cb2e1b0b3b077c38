"""Frames as RFC 6455 draws them, at the borders of its three lengths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from gateway.protocol.frames import payloads_of, text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 300_000])
def test_a_frame_is_what_another_library_would_make(size: int) -> None:
    payload = b"x" * size
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


@given(st.lists(st.sampled_from([0, 1, 125, 126, 200, 65_536]).map(lambda size: b"y" * size)))
def test_joined_frames_come_apart_again(payloads: list[bytes]) -> None:
    assert payloads_of(b"".join(map(text_frame, payloads))) == payloads
