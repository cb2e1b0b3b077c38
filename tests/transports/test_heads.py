"""Heads that cannot be taken as they are."""

from __future__ import annotations

import json

import httptools
import pytest

from gateway.transports.heads import no_http, without_wish


@pytest.mark.parametrize(
    ("connection", "kept"),
    [
        (b"Upgrade, HTTP2-Settings", b""),
        (b"upgrade", b""),
        (b"keep-alive,Upgrade", b"connection: keep-alive\r\n"),
        (b"Upgrade, close, x", b"connection: close, x\r\n"),
    ],
)
def test_the_wish_for_another_protocol_is_left_out_and_all_else_is_kept(
    connection: bytes, kept: bytes
) -> None:
    fields = [
        (b"host", b"a"),
        (b"connection", connection),
        (b"upgrade", b"h2c"),
        (b"http2-settings", b"AAM"),
        (b"content-length", b"3"),
    ]
    head = without_wish(b"POST", b"/x?y=1", "1.0", fields)
    assert head == b"POST /x?y=1 HTTP/1.0\r\nhost: a\r\n" + kept + b"content-length: 3\r\n\r\n"


def test_a_head_without_a_wish_needs_no_other() -> None:
    assert without_wish(b"CONNECT", b"a:443", "1.1", [(b"host", b"a")]) is None


def test_a_method_that_is_none_is_told() -> None:
    for error, words in (
        (httptools.HttpParserInvalidMethodError("x"), "written in capitals"),
        (httptools.HttpParserError("x"), "RFC 9112"),
        (None, "RFC 9112"),
    ):
        assert words in json.loads(bytes(no_http(error).body))["detail"]
