"""The published description of the API is true: a stranger that reads only it finds no lie."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import openapi_spec_validator
import pytest

from gateway.transports.openapi import openapi_document
from tests.transports.world import SECRET, token, world

HERE = Path(__file__).parent
SOAK = os.environ.get("GATEWAY_SOAK") == "1"
# They change what the others are answered, for everybody.
STOPPING = r"mode\.set|breaker\.open|breaker\.close"


def test_the_description_is_a_valid_openapi_document() -> None:
    openapi_spec_validator.validate(openapi_document("/"))


@pytest.mark.requirement("MESH-W16")
@pytest.mark.timeout(3600 if SOAK else 120)
async def test_nothing_that_is_sent_finds_a_mistake() -> None:
    """
    All checks of Schemathesis: no 500, answers as described, bad data refused and good data taken.

    Missing, extra, wrong-typed and huge parameters, broken JSON, methods that are not there, no
    token, and whole stories in which one answer's ids are the next request's.
    """
    async with world(secret=SECRET) as here:
        ops = token("ops", "admin")
        process = await asyncio.create_subprocess_exec(
            *(Path(sys.executable).parent / "st", "--config-file", HERE / "schemathesis.toml"),
            *("run", f"{here.http}/openapi.json", "--header", f"Authorization: Bearer {ops}"),
            *("--max-examples", "500" if SOAK else "12", "--request-timeout", "30", "--no-color"),
            *("--suppress-health-check", "all"),  # they would judge the machine
            *("--exclude-path", "/api/events/stream"),  # it does not end
            *("--exclude-operation-id-regex", STOPPING),
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
