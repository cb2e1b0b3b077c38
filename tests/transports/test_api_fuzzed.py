"""The published description of the API is true: a stranger that reads only it finds no lie."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import openapi_spec_validator
import pytest

from gateway.transports.openapi import openapi_document
from tests.soak import SOAK
from tests.transports.world import SECRET, World, token, world

HERE = Path(__file__).parent
# Every value at the edge of each field takes a minute (``coverage``); test_bad_input.py tries some.
# What they do changes what others are answered, for everybody: they have servers of their own.
STOPPING = ("mode.set", "breaker.open", "breaker.close")
# Together with what gives them ids, and shows what they have done.
SHOWN_BY = ("agent.register", "agent.get", "breaker.list", "mode.get", "stats.get")
ALONE = (*STOPPING, "agent.shutdown", *SHOWN_BY)


def test_the_description_is_a_valid_openapi_document() -> None:
    openapi_spec_validator.validate(openapi_document("/"))


@pytest.mark.requirement("MESH-W16")
@pytest.mark.timeout(3600 if SOAK else 240)
async def test_nothing_that_is_sent_finds_a_mistake() -> None:
    """
    All checks of Schemathesis: no 500, answers as described, bad data refused and good data taken.

    Missing, extra, wrong-typed and huge parameters, broken JSON, methods that are not there, no
    token, and whole stories in which one answer's ids are the next request's.
    """
    async with world(secret=SECRET) as here:
        await searched(here, token("ops", "admin"), "--exclude-operation-id-regex", ids(STOPPING))


@pytest.mark.parametrize("secret", [SECRET, ""], ids=["token", "open"])
@pytest.mark.timeout(3600 if SOAK else 240)
async def test_nothing_that_is_sent_to_what_stops_others_finds_a_mistake(secret: str) -> None:
    """The same on servers of their own; one is open, and its description asks for no token."""
    async with world(secret=secret) as here:
        bearer = secret and token("ops", "admin")
        await searched(here, bearer, "--include-operation-id-regex", ids(ALONE))


def ids(operations: Iterable[str]) -> str:
    """A pattern of these operations' ids."""
    return rf"^({'|'.join(map(re.escape, operations))})$"


async def searched(here: World, bearer: str, *choice: str) -> None:
    """Let Schemathesis search some operations for mistakes."""
    process = await asyncio.create_subprocess_exec(
        *(Path(sys.executable).parent / "st", "--config-file", HERE / "schemathesis.toml"),
        *("run", f"{here.http}/openapi.json"),
        *(("--header", f"Authorization: Bearer {bearer}") if bearer else ()),
        *("--max-examples", "500" if SOAK else "8", "--request-timeout", "30", "--no-color"),
        *("--phases", "examples,coverage,fuzzing,stateful" if SOAK else "fuzzing,stateful"),
        *("--suppress-health-check", "all"),  # they would judge the machine
        *("--exclude-path", "/api/events/stream"),  # it does not end
        *choice,
        *(("--seed", "1") if os.environ.get("CI") else ()),
        env={
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.transports.schemathesis_hooks",
            "PYTHONPATH": str(HERE.parents[1]),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
    # It lives, and knows what it did.
    assert here.engine.log.head > 0
