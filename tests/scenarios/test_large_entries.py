"""The largest that may be sent, of every kind: it is told whole or refused, on either store."""

from __future__ import annotations

from typing import Any

import orjson

from tests.scenarios.harness import GatewayProcess, browser, gateway_process

KIB = 1024
# What takes most bytes in the fewest characters, and what is longer in JSON than it was.
WIDE, ESCAPED = "€", "\0"


async def posted(gateway: GatewayProcess, path: str, **body: Any) -> Any:
    answer = await gateway.http.post(path, content=orjson.dumps(body), headers=JSON)
    assert answer.status_code < 300, answer.text
    return answer.json()


async def refused(gateway: GatewayProcess, path: str, **body: Any) -> tuple[int, str]:
    answer = await gateway.http.post(path, content=orjson.dumps(body), headers=JSON)
    problem = answer.json()
    assert any(letter.isdigit() for letter in problem["detail"]), "it names no bound"
    return answer.status_code, problem["field"]


JSON = {"content-type": "application/json"}


async def test_whatever_is_as_large_as_it_may_be_is_told() -> None:
    async with gateway_process(target=None, input_bytes=512 * KIB) as gateway:
        features = ["f" * 128] * 64
        agents = [{"name": f"a{number}", "features": features} for number in range(60)]
        about = await posted(gateway, "/api/agents", handle="w", agents=agents)
        too_many = [{"name": "x" * 128, "features": [WIDE * 128] * 64}] * 40
        assert await refused(gateway, "/api/agents", handle="w", agents=too_many) == (413, "agents")
        proof = {name: about[name] for name in ("agent_id", "agent_secret")}

        async def held(input: Any) -> dict[str, Any]:
            task = {"agent": "a0", "input": input, "user_id": "ann", "max_attempts": 1}
            task_id = (await posted(gateway, "/api/tasks", **task))["task_id"]
            claim = await posted(gateway, "/api/tasks/claim", **proof, task_id=task_id)
            assert claim["input"] == input
            return {"task_id": task_id, "term": claim["term"], **proof}

        async with browser(gateway.url, "ann") as page:
            # --- a task that succeeds: its input, its pieces, its result with steps
            held_by = await held({"q": "x" * (512 * KIB - 8)})
            path = f"/api/tasks/{held_by.pop('task_id')}"
            plan = [WIDE * 125 + f"{number:03}" for number in range(256)]
            data = {"data": WIDE * (256 * KIB // 3 - 4), "step": "s", "plan": plan}
            await posted(gateway, f"{path}/update", **held_by, **data)
            await posted(gateway, f"{path}/update", **held_by, text=WIDE * (64 * KIB))
            steps = {f"s{number}": "y" * KIB for number in range(250)}
            result = "r" * (256 * KIB - 2)
            await posted(gateway, f"{path}/complete", **held_by, result=result, steps=steps)
            finished = await page.event("task_finished", outcome="succeeded")
            assert finished["result"] == result

            # --- one that fails: a text that is many times what is kept, with all else
            for text in (WIDE * 200_000, ESCAPED * 60_000):
                held_by = await held(1)
                task_id = held_by.pop("task_id")
                path = f"/api/tasks/{task_id}"
                failed = {"message": "m" * 4096, "text": text, "plan": plan}
                await posted(
                    gateway,
                    f"{path}/fail",
                    **held_by,
                    **failed,
                    steps={"one": "y" * 200 * KIB},
                    detail={"d": "z" * 40 * KIB},
                )
                error = await page.event("agent_error", task_id=task_id)
                kept = await page.event("partial_result_preserved", task_id=task_id)
                assert kept["truncated"]
                assert text.startswith(kept["preserved_text"])
                assert 0 < len(kept["preserved_text"]) < len(text)
                assert error["error_id"] == kept["error_id"]
                end = await page.event("task_finished", task_id=task_id)
                assert end["outcome"] in ("failed", "dead_lettered")
                partial = await gateway.get(f"{path}/partial")
                assert partial["preserved_text"] == kept["preserved_text"]
                assert partial["truncated"], "what is told and what is kept are the same"

            # --- what is said without a task
            note = {"type": "notification", "subject": "s", "recipient_id": "ann"}
            payload = WIDE * (64 * KIB // 3 - 1)
            await posted(gateway, "/api/events", **note, payload=payload, user_id="ann")
            assert (await page.event("notification"))["payload"] == payload
            report = {"type": "agent_error", "agent_name": "a0", "user_id": "ann"}
            await posted(gateway, "/api/events", **report, message="m" * 200 * KIB)
            await page.event("agent_error", task_id=None)

        # --- one more is refused by name, and the task can still be ended
        held_by = await held(2)
        path = f"/api/tasks/{held_by.pop('task_id')}"
        large = "r" * (256 * KIB - 1)
        more: dict[str, Any] = {"step": "s", "data": large}
        assert await refused(gateway, f"{path}/update", **held_by, **more) == (413, "data")
        assert await refused(gateway, f"{path}/complete", **held_by, result=large) == (
            413,
            "result",
        )
        more = {"steps": {"s": large}, "message": "m"}
        assert await refused(gateway, f"{path}/fail", **held_by, **more) == (413, "steps")
        order = {"agent": "a0", "input": "x" * 512 * KIB}
        assert await refused(gateway, "/api/tasks", **order) == (413, "input")
        payload = "x" * 64 * KIB
        assert await refused(gateway, "/api/events", **note, payload=payload) == (413, "payload")
        await posted(gateway, f"{path}/fail", **held_by, message="m")
