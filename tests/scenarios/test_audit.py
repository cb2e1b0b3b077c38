"""The audit of a real gateway with tokens: who did what, and refused sign-ins, for operators."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.scenarios.harness import GatewayProcess, gateway_process
from tests.transports.metrics import Scrape
from tests.transports.world import SECRET, token

pytestmark = pytest.mark.asyncio(loop_scope="module")

USER = "events:read tasks:write"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[GatewayProcess]:
    async with gateway_process(target=None, token_secret=SECRET) as running:
        yield running


def bearer(user_id: str, scope: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token(user_id, scope)}"}


async def asked(gateway: GatewayProcess, method: str, path: str, **options: Any) -> Any:
    answer = await gateway.http.request(method, path, **options)
    return answer.status_code, answer.json() if answer.content else None


async def records(gateway: GatewayProcess, **fields: Any) -> list[dict[str, Any]]:
    """The audit, as an operator reads it."""
    query = {"type": "audit_recorded"}
    _, page = await asked(
        gateway, "GET", "/api/events", params=query, headers=bearer("olga", "admin")
    )
    return [item for item in page["items"] if all(item[name] == fields[name] for name in fields)]


async def test_an_operator_reads_who_cancelled_retried_and_shut_down(
    gateway: GatewayProcess,
) -> None:
    ann, olga = bearer("ann", USER), bearer("olga", "admin")
    worker = bearer("w", "agent")
    order = {"agent": "nobody", "input": {}}
    _, task = await asked(gateway, "POST", "/api/tasks", json=order, headers=ann)
    path = f"/api/tasks/{task['task_id']}"
    assert (await asked(gateway, "POST", f"{path}/cancel", headers=olga))[0] == 200
    assert (await asked(gateway, "POST", f"{path}/retry", headers=ann))[0] < 300
    _, made = await asked(gateway, "POST", "/api/agents", json={"handle": "w"}, headers=worker)
    leaving = f"/api/agents/{made['agent_id']}/shutdown"
    assert (await asked(gateway, "POST", leaving, headers=olga))[0] == 200
    told = [
        (record["action"], record["target"], record["detail"]["by"])
        for record in await records(gateway)
        if record["action"] != "sign_in_refused"
    ]
    assert told == [
        ("task.cancel", task["task_id"], "olga"),
        ("task.retry", task["task_id"], "ann"),
        ("agent.shutdown", made["agent_id"], "olga"),
    ]
    _, seen = await asked(gateway, "GET", "/api/events?type=audit_recorded", headers=ann)
    assert seen["items"] == []


async def test_refused_sign_ins_are_counted_for_operators(gateway: GatewayProcess) -> None:
    for _ in range(20):
        status, _ = await asked(
            gateway, "GET", "/api/tasks", headers={"authorization": "Bearer nonsense"}
        )
        assert status == 401
    (record,) = await records(gateway, action="sign_in_refused")
    assert record["reason"] == "it is no JWT"
    assert "nonsense" not in str(record)
    scrape = await gateway.http.get("/metrics", headers=bearer("olga", "admin"))
    counted = Scrape(scrape.text)
    assert counted("sign_ins_refused_total", reason="it is no JWT") >= 20
