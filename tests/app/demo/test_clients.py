"""The SDK's clients: no retries of their own, and no proxy between them and this machine."""

from __future__ import annotations

import pytest

from gateway.app.demo.clients import async_client, plain_client

BASE_URL = "http://127.0.0.1:9/v1"


async def test_clients_neither_retry_nor_read_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gateway retries; a proxy that the environment names cannot reach this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://other.example/v1")
    async with async_client(BASE_URL, timeout=3.0) as client:
        assert (client.max_retries, client.timeout) == (0, 3.0)
        assert str(client.base_url) == BASE_URL + "/"
        assert not client._client.trust_env
    with plain_client(BASE_URL) as plain:
        assert plain.max_retries == 0
        assert str(plain.base_url) == BASE_URL + "/"
        assert not plain._client.trust_env
