"""What stands in the log in the morning: each failure once, with what one needs to look it up."""

from __future__ import annotations

import asyncio
import json
import tempfile
from typing import IO, Any

from gateway.app.clock import SystemClock
from tests.scenarios.harness import browser, gateway_process, worker_process

CLOCK = SystemClock()
TARGET = "tests.scenarios.night_agents:gateway"


def lines(said: IO[bytes]) -> list[dict[str, Any]]:
    said.seek(0)
    return [json.loads(line) for line in said.read().splitlines()]


def about(said: IO[bytes], type: str, **ids: Any) -> list[dict[str, Any]]:
    """The lines that tell of events of a type, with these ids."""
    return [
        line
        for line in lines(said)
        if line.get("event") == type and all(line.get(name) == ids[name] for name in ids)
    ]


async def line_about(said: IO[bytes], type: str, **ids: Any) -> dict[str, Any]:
    """Wait for the one line about something."""
    async with asyncio.timeout(20):
        while not (found := about(said, type, **ids)):
            await CLOCK.sleep(0.05)
    (line,) = found
    return line


async def test_each_failure_is_a_line_with_its_cause_and_its_ids() -> None:
    """A bug, an upstream that is away, and a worker that is killed."""
    with tempfile.TemporaryFile() as said:
        async with (
            gateway_process(
                target=TARGET,
                said=said,
                log_level="info",
                log_format="json",
                retry_base=0.05,
                breaker_threshold=2,
            ) as gateway,
            browser(gateway.url) as page,
        ):
            task_id = (await gateway.task("buggy"))["task_id"]
            await page.finished(task_id)
            line = await line_about(said, "agent_error", task_id=task_id)
            (error,) = page.all("agent_error", task_id=task_id)
            assert (line["error_id"], line["attempt"]) == (error["error_id"], 1)
            assert (line["level"], line["agent_name"]) == ("ERROR", "buggy")
            assert "builtins.KeyError" in line["message"]
            assert "night_agents.py:" in line["message"]
            assert line["exc_info"].splitlines()[0].endswith(" in look_up")

            task_id = (await gateway.task("cut-off"))["task_id"]
            await page.finished(task_id)
            letter = await line_about(said, "task_dead_lettered", task_id=task_id)
            tries = about(said, "agent_error", task_id=task_id)
            assert [line["level"] for line in tries] == ["WARNING", "ERROR"]
            assert "ConnectionRefusedError" in tries[0]["message"]
            assert not any("exc_info" in line for line in tries)
            assert (letter["level"], letter["error_id"]) == ("CRITICAL", tries[0]["error_id"])
            opened = await line_about(said, "circuit_breaker_triggered", breaker="cut-off")
            assert opened["level"] == "ERROR"

            async with worker_process(gateway.url, target=TARGET) as worker:
                child = worker.child
                worker.process.kill()
                child.kill()
                lost = await line_about(said, "agent_status_changed", agent_id=worker.agent_id)
                assert lost["level"] in ("WARNING", "ERROR")
                await worker.process.wait()
        assert "a1B2" not in json.dumps(lines(said))
