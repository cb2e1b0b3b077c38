"""The openai SDK's clients of the demonstration, for a model on this machine."""

from __future__ import annotations

from typing import Any

from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

__all__ = ["async_client", "plain_client"]

# The gateway retries, not the SDK: its retries would not be seen.
_OPTIONS: dict[str, Any] = {"api_key": "none-needed", "max_retries": 0}

# The model is on this machine: a proxy that the environment names cannot reach it, and loading
# certificates would only take time.
_LOCAL: dict[str, Any] = {"trust_env": False, "verify": False}


def async_client(base_url: str, **options: Any) -> AsyncOpenAI:
    """
    Make a client for coroutines; used as a context manager it closes its connections.

    Args:
        base_url: Of the model, ``http://127.0.0.1:8001/v1``.
        options: More options of the SDK, such as ``timeout``.
    """
    http_client = DefaultAsyncHttpxClient(**_LOCAL)
    return AsyncOpenAI(base_url=base_url, http_client=http_client, **_OPTIONS, **options)


def plain_client(base_url: str) -> OpenAI:
    """Make a client for plain functions; used as a context manager it closes its connections."""
    return OpenAI(base_url=base_url, http_client=DefaultHttpxClient(**_LOCAL), **_OPTIONS)
