"""Refusals of tokens in the log: one line for each reason and second, with a count."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gateway.transports import refusals as module
from gateway.transports.refusals import Refusals
from tests.transports.world import until


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


async def test_a_flood_is_one_line_at_once_and_one_with_the_count(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER_S", 0.05)
    counted: list[str] = []
    told = Refusals(counted.append)
    for number in range(100):
        told.tell("its exp is missing", f"{number}")
    told.tell("it is no JWT", "")
    assert counted == ["its exp is missing"] * 100 + ["it is no JWT"]
    assert lines(caplog) == [
        "a token was refused: its exp is missing (0)",
        "a token was refused: it is no JWT",
    ]
    await until(lambda: len(lines(caplog)) == 3)
    assert lines(caplog)[2] == "99 more tokens were refused: its exp is missing"


async def test_the_next_after_a_quiet_while_is_told_at_once_and_nothing_is_kept(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER_S", 0.01)
    told = Refusals(lambda reason: None)
    for number in (1, 2):
        told.tell("it is no JWT", "")
        assert len(lines(caplog)) == number
        await until(lambda: not told._more)


def test_what_another_loop_did_not_tell_holds_back_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An application may run again in the same process."""
    told = Refusals(lambda reason: None)

    async def tell() -> None:
        told.tell("it is no JWT", "")

    asyncio.run(tell())
    asyncio.run(tell())
    assert len(lines(caplog)) == 2


async def test_what_happens_every_day_is_told_more_quietly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        Refusals(lambda reason: None).tell("it has expired", "", level=logging.INFO)
    assert [record.levelno for record in caplog.records] == [logging.INFO]
