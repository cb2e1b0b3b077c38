"""
Redaction: what it costs to take the secrets out of a text, when something has failed.

    python -m tests.bench.redaction

A traceback as real libraries raise them, of 8 KiB as most are and of 64 KiB, which is the most that
is read of one text; the same with a secret in every tenth line; and the slowest text known.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Iterator

import httpx2

from gateway.domain.redaction import TEXT_CHARS_MAX, redact_text
from tests.domain.secret_samples import KEYS

__all__ = ["run"]

TIMES = 20


def run() -> None:
    """Measure and print; processor time, the least of some runs."""
    print(f"{'redaction of':34}{'KiB':>5}{'ms':>8}")
    traced = _traceback()
    for name, text in (
        ("a traceback", traced[:8192]),
        ("a traceback", traced),
        ("a traceback with many secrets", _with_secrets(traced)[:8192]),
        ("a traceback with many secrets", _with_secrets(traced)[:TEXT_CHARS_MAX]),
        ("the slowest text known", ('token "' * TEXT_CHARS_MAX)[:TEXT_CHARS_MAX]),
    ):
        print(f"{name:34}{len(text) // 1024:5}{min(_took(text)) * 1e3:8.2f}")


def _took(text: str) -> Iterator[float]:
    for _ in range(TIMES):
        began = time.process_time()
        redact_text(text)
        yield time.process_time() - began


def _traceback() -> str:
    try:
        asyncio.run(_fail())
    except* httpx2.ConnectError:
        traced = traceback.format_exc()
    return (traced * (TEXT_CHARS_MAX // len(traced) + 1))[:TEXT_CHARS_MAX]


async def _fail() -> None:
    async with httpx2.AsyncClient() as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(client.get("http://127.0.0.1:9/x"))


def _with_secrets(text: str) -> str:
    lines = text.splitlines()
    for number in range(0, len(lines), 10):
        lines[number] += f" password=hunter2 {KEYS['openai project']}"
    return "\n".join(lines)


if __name__ == "__main__":
    run()
