"""Claims of many processes at two nodes, one of which is killed: no term ever has two holders."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.claim_histories import Call, Operation, Outcome, read, violations
from tests.scenarios.durable import seeded, two_nodes, whole
from tests.scenarios.harness import ROOT, browser, gateway_process
from tests.soak import times

pytestmark = pytest.mark.own_store

# --- the checker finds what was planted ----------------------------------------------------------


def call(
    operation: Operation,
    agent_id: str,
    term: int | None,
    at: tuple[float, float],
    *,
    outcome: Outcome = "ok",
    task_id: str = "t",
) -> Call:
    """One call about a task; leases last for 1 s."""
    asks = operation in ("claim", "heartbeat")
    return Call(
        agent_id=agent_id,
        node="n",
        operation=operation,
        task_id=task_id,
        term=term,
        lease_s=1.0 if asks else None,
        invoked_at=at[0],
        answered_at=math.inf if outcome == "unknown" else at[1],
        outcome=outcome,
    )


CLAIMED = call("claim", "ann", 1, (10.0, 10.1))
LOST = call("claim", "ben", 2, (11.0, 11.2))
DONE = call("complete", "ann", 1, (10.2, 10.3))


@pytest.mark.parametrize(
    ("history", "found"),
    [
        pytest.param(
            [CLAIMED, call("claim", "ben", 1, (10.05, 10.2))], "one term, two holders", id="two"
        ),
        pytest.param([LOST, call("claim", "ann", 1, (11.3, 11.4))], "terms go back", id="back"),
        pytest.param([LOST, call("claim", "ben", 1, (11.3, 11.4))], "terms go back", id="own"),
        pytest.param(
            [CLAIMED, DONE, call("complete", "ann", 1, (10.2, 10.3))],
            "completed twice",
            id="completed twice",
        ),
        pytest.param(
            [CLAIMED, call("complete", "ben", 1, (10.2, 10.3))],
            "accepted from a caller that never held it",
            id="another's term",
        ),
        pytest.param(
            [CLAIMED, call("heartbeat", "ann", 2, (10.2, 10.3))],
            "accepted from a caller that never held it",
            id="no one's term",
        ),
        pytest.param(
            [CLAIMED, LOST, call("complete", "ann", 1, (11.3, 11.4))],
            "accepted too late",
            id="completed late",
        ),
        pytest.param(
            [CLAIMED, LOST, call("heartbeat", "ann", 1, (11.3, 11.4))],
            "accepted too late",
            id="renewed late",
        ),
        pytest.param(
            [CLAIMED, LOST, call("release", "ann", 1, (11.3, 11.4))],
            "accepted too late",
            id="released late",
        ),
        pytest.param(
            [
                CLAIMED,
                call("release", "ann", 1, (10.2, 10.3)),
                call("claim", "ann", 1, (10.4, 10.5)),
            ],
            "accepted too late",
            id="taken again under the same term",
        ),
        pytest.param(
            [CLAIMED, DONE, call("claim", "ben", 2, (11.5, 11.6))],
            "accepted after the end",
            id="taken after the end",
        ),
        pytest.param(
            [CLAIMED, DONE, call("heartbeat", "ann", 1, (10.4, 10.5))],
            "accepted after the end",
            id="renewed after the end",
        ),
        pytest.param(
            [CLAIMED, call("claim", "ben", 2, (10.5, 10.9))],
            "passed on 0.100 s before its end",
            id="passed on early",
        ),
        pytest.param(
            [CLAIMED, call("heartbeat", "ann", 1, (10.9, 11.1)), LOST],
            "passed on 0.700 s before its end",
            id="passed on though renewed",
        ),
    ],
)
def test_what_cannot_have_happened_is_found(history: list[Call], found: str) -> None:
    """Whichever way round it was recorded, and among calls about other tasks."""
    other = call("claim", "eve", 7, (10.0, 10.1), task_id="other")
    for recorded in ([*history, other], [other, *reversed(history)]):
        (violation,) = violations(recorded)
        assert violation.startswith(f"task t: {found}")


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([], id="nothing"),
        pytest.param([CLAIMED, DONE], id="done"),
        pytest.param([CLAIMED, LOST, call("complete", "ben", 2, (11.3, 11.4))], id="passed on"),
        pytest.param(
            [CLAIMED, call("claim", "ann", 1, (10.2, 10.3)), DONE], id="asked for twice by one"
        ),
        pytest.param(
            [CLAIMED, call("claim", "ben", 1, (10.0, 10.2), outcome="refused"), DONE],
            id="contested",
        ),
        pytest.param(
            [
                CLAIMED,
                call("release", "ann", 1, (10.2, 10.3)),
                call("claim", "ben", 2, (10.2, 10.4)),
            ],
            id="given back",
        ),
        pytest.param(
            [
                CLAIMED,
                call("release", "ann", 1, (10.2, 10.3), outcome="unknown"),
                call("claim", "ben", 2, (10.4, 10.5)),
            ],
            id="given back perhaps",
        ),
        pytest.param(
            [CLAIMED, call("complete", "ann", 1, (10.2, 10.3), outcome="unknown"), LOST],
            id="completed perhaps, and not at all",
        ),
        pytest.param(
            [CLAIMED, DONE, call("complete", "ann", 1, (10.2, 10.3), outcome="unknown")],
            id="completed twice at once, and one answer lost",
        ),
        pytest.param(
            [CLAIMED, call("claim", "ben", None, (10.5, 10.6), outcome="unknown"), DONE],
            id="wanted by a caller without an answer",
        ),
        pytest.param(
            [call("claim", "ann", 1, (10.0, 12.0)), call("claim", "ben", 2, (11.0, 11.5))],
            id="told late that it was given",
        ),
        pytest.param(
            [CLAIMED, LOST, call("complete", "ann", 1, (10.9, 11.3))],
            id="late, yet while another took it",
        ),
        pytest.param([CLAIMED, DONE, call("claim", "ben", 2, (10.3, 11.5))], id="as it ended"),
    ],
)
def test_what_may_have_happened_is_accepted(history: list[Call]) -> None:
    assert violations(history) == []
    assert violations(reversed(history)) == []


def test_a_call_without_an_answer_is_unknown(tmp_path: Path) -> None:
    """Its process was killed, or waited no longer: it may yet take effect, at any time."""
    began = {
        "process": 1,
        "agent_id": "ann",
        "node": "n",
        "operation": "complete",
        "task_id": "t",
        "term": 1,
        "lease_s": None,
        "invoked_at": 10.0,
    }
    lines = [
        {**began, "number": 1},
        {**began, "number": 2},
        {"process": 1, "number": 2, "outcome": "unknown", "code": "503", "answered_at": 11.0},
        {**began, "number": 3},
        {"process": 1, "number": 3, "outcome": "ok", "answered_at": 11.0},
    ]
    recording = tmp_path / "history"
    recording.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    told = read(recording)
    assert [call.outcome for call in told] == ["unknown", "unknown", "ok"]
    assert [call.answered_at for call in told] == [math.inf, math.inf, 11.0]


# --- two nodes -----------------------------------------------------------------------------------


class Claimers:
    """A running ``claimer``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def leave(self) -> None:
        """Let it finish what it holds, and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(20):
            assert await self._process.wait() == 0


@contextlib.asynccontextmanager
async def claimers(*urls: str, seed: int, history: Path) -> AsyncIterator[Claimers]:
    """Start a crew of four."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.scenarios.claimer", *urls),
        *("--crew", "4", "--seed", str(seed), "--history", str(history)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
    )
    try:
        yield Claimers(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.requirement("FLUX-W2")
@pytest.mark.asyncio(loop_scope="module")
async def test_no_term_has_two_holders_whichever_node_is_asked(
    store: dict[str, Any], tmp_path: Path
) -> None:
    """Renewed here and completed there, held too long, and one node is killed in the middle."""
    count, within_s = times(40, 1000), times(30, 300)
    histories = [tmp_path / "history-1", tmp_path / "history-2"]
    with seeded(random.randrange(10_000)) as chance:
        async with contextlib.AsyncExitStack() as stack:
            first, second = await stack.enter_async_context(
                two_nodes(store, queue_limit=10 * count)
            )
            crews = [
                await stack.enter_async_context(
                    claimers(first.url, second.url, seed=chance.randrange(10_000), history=history)
                )
                for history in histories
            ]
            page = await stack.enter_async_context(browser(second.url))
            tasks = set()
            for number in range(count):
                node = (first, second)[number % 2]
                task = await node.task("crew", user_id="ann", max_attempts=100)
                tasks.add(task["task_id"])
            await page.until(
                lambda _: len(page.all("task_finished")) >= count // 2, within_s=within_s
            )
            await first.stop(signal.SIGKILL)
            await stack.enter_async_context(
                gateway_process(target=None, port=first.port, **store, queue_limit=10 * count)
            )
            await page.until(lambda _: len(page.all("task_finished")) >= count, within_s=within_s)
            events = await whole(second, tasks)
            for crew in crews:
                await crew.leave()
        calls = read(*histories)
        found = violations(calls)
        assert not found, "\n".join(found)

        # What the rules are about has come to pass.
        claims = [call for call in calls if call.operation == "claim" and call.outcome == "ok"]
        assert {call.node for call in claims} == {first.url, second.url}
        refused = Counter(call.code for call in calls if call.outcome == "refused")
        assert refused["task_claimed"] + refused["conflict"] > 0
        assert refused["stale_term"] > 0
        assert any(call.term is not None and call.term > 1 for call in claims)
        errors = [event["error_code"] for event in events if event["type"] == "agent_error"]
        assert "lease_expired" in errors

        # The log tells the same: each task was ended by the caller that was told so, or by one
        # without an answer.
        told = {
            (call.task_id, call.agent_id, call.term): call.outcome
            for call in calls
            if call.operation == "complete" and call.outcome != "refused"
        }
        ends = [event for event in events if event["type"] == "task_finished"]
        assert Counter(event["task_id"] for event in ends) == Counter(tasks)
        ended = {
            (event["task_id"], event["result"]["agent_id"], event["result"]["term"])
            for event in ends
        }
        assert ended <= set(told)
        assert {key for key, outcome in told.items() if outcome == "ok"} <= ended
        started = {
            (event["task_id"], event["agent_id"])
            for event in events
            if event["type"] == "task_started"
        }
        assert {(call.task_id, call.agent_id) for call in claims} <= started
