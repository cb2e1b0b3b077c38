"""The address of a gateway: what `serve` prints, and its WebSocket, are one and the same."""

from __future__ import annotations

import pytest

from gateway.client.addresses import http_root, websocket_url
from gateway.domain.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "root", "websocket"),
    [
        ("http://h:1", "http://h:1", "ws://h:1/ws"),
        ("https://h/", "https://h", "wss://h/ws"),
        ("http://h/gate/", "http://h/gate", "ws://h/gate/ws"),
        ("ws://h:1/ws", "http://h:1", "ws://h:1/ws"),
        ("ws://h:1", "http://h:1", "ws://h:1/ws"),
        ("wss://h/gate/ws", "https://h/gate", "wss://h/gate/ws"),
        ("http://[::1]:1", "http://[::1]:1", "ws://[::1]:1/ws"),
        ("http://me:secret@h:1", "http://h:1", "ws://h:1/ws"),
    ],
)
def test_both_forms_name_one_gateway(url: str, root: str, websocket: str) -> None:
    assert (http_root(url), websocket_url(url)) == (root, websocket)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://x:port", "ws://["])
def test_what_is_no_address_is_refused_with_the_form_that_it_should_have(url: str) -> None:
    for read in (http_root, websocket_url):
        with pytest.raises(ConfigurationError, match="--url has to be http://HOST:PORT"):
            read(url)
