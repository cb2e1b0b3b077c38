"""What was lost comes back: retries, fallbacks, and the finished part of the work."""

from __future__ import annotations

import itertools
import random
import statistics
import urllib.parse

import pytest

from gateway.domain.timestamps import seconds_of
from tests.scenarios.harness import browser, gateway_process
from tests.scenarios.proxy import Proxy
from tests.soak import times
from tests.upstream import Upstream


@pytest.mark.requirement("WS-03", "WS-W3")
async def test_finished_steps_are_kept_told_before_the_error_and_not_done_again() -> None:
    async with (
        Upstream(answer="a finding") as upstream,
        gateway_process(upstream=upstream.url, retry_base=0.05) as gateway,
        browser(gateway.url, "42") as page,
    ):
        upstream.schedule("fine", "fine", "500", "fine")
        task = await gateway.task("stepper", user_id="42")
        finished = await page.finished(task["task_id"])
        kept = page.all("partial_result_preserved")[0]
        error = page.all("agent_error")[0]
        assert kept["preserved_data"] == {"step1": "a finding", "step2": "a finding"}
        assert kept["lost_data"] == ["step3"]
        assert kept["confidence_reduced"] is True
        assert 0.5 <= kept["progress"] <= 1
        assert kept["offset"] < error["offset"]
        assert kept["error_id"] == error["error_id"]
        # The next attempt was handed the two steps: four calls, not six.
        assert finished["outcome"] == "succeeded"
        assert finished["result"] == dict.fromkeys(("step1", "step2", "step3"), "a finding")
        assert upstream.count == 4


async def test_an_attempt_ends_as_it_did_however_much_it_had_still_to_tell() -> None:
    """Told all at once it was an entry that NATS did not take: an internal error, and no result."""
    async with gateway_process() as gateway, browser(gateway.url, "42") as page:
        done = await gateway.task("hoarder", user_id="42")
        finished = await page.finished(done["task_id"])
        assert (finished["outcome"], len(finished["result"])) == ("succeeded", 200_000)
        failed = await gateway.task("hoarder", "fail", user_id="42")
        finished = await page.finished(failed["task_id"])
        error = await page.event("agent_error", task_id=failed["task_id"])
        assert (finished["outcome"], error["error_code"]) == (
            "dead_lettered",
            "upstream_invalid_response",
        )
        kept = await page.event("partial_result_preserved", task_id=failed["task_id"])
        assert kept["truncated"] is True
        assert kept["preserved_data"]


async def test_what_is_preserved_can_be_read_over_http() -> None:
    async with (
        Upstream(answer="a finding") as upstream,
        gateway_process(upstream=upstream.url, retry_base=0.05) as gateway,
        browser(gateway.url, "42") as page,
    ):
        upstream.schedule("fine", "500")
        task = await gateway.task("stepper", user_id="42", max_attempts=1)
        await page.finished(task["task_id"])
        kept = page.all("partial_result_preserved")[0]
        read = await gateway.get(urllib.parse.urlsplit(kept["url"]).path)
        assert read["preserved_data"] == kept["preserved_data"] == {"step1": "a finding"}
        assert read["lost_data"] == ["step2", "step3"]
        assert read["sha256"] == kept["sha256"]


@pytest.mark.requirement("WS-05")
async def test_each_retry_is_announced_and_comes_when_announced() -> None:
    async with (
        Upstream() as upstream,
        gateway_process(upstream=upstream.url, retry_base=0.2) as gateway,
        browser(gateway.url, "42") as page,
    ):
        upstream.schedule("503", "503", "fine")
        task = await gateway.task("asker", user_id="42")
        await page.finished(task["task_id"])
        announced = page.all("recovery_attempt")
        assert [attempt["attempt_number"] for attempt in announced] == [1, 2]
        assert {attempt["strategy"] for attempt in announced} == {"exponential_backoff"}
        delays = [attempt["backoff_delay"] for attempt in announced]
        assert delays == sorted(delays)
        gaps = [later - earlier for earlier, later in itertools.pairwise(upstream.times)]
        for gap, delay in zip(gaps, delays, strict=True):
            assert delay <= gap < delay + 0.5
        recovered = page.all("system_recovered")
        assert len(recovered) == 1
        assert recovered[0]["attempts_made"] == 3
        assert recovered[0]["recovery_time"] >= sum(delays)
        assert recovered[0]["error_id"] == announced[0]["error_id"]


@pytest.mark.requirement("WS-07")
async def test_a_connection_lost_at_sixty_percent_keeps_the_work_and_says_when_it_goes_on() -> None:
    async with Upstream() as upstream:
        port = urllib.parse.urlsplit(upstream.url).port
        assert port is not None
        async with (
            Proxy(port) as proxy,
            gateway_process(
                upstream=f"http://127.0.0.1:{proxy.port}",
                env={"AGENT_LIMIT_S": "5"},
                retry_base=0.05,
            ) as gateway,
            browser(gateway.url, "42") as page,
        ):
            upstream.schedule("s_stall", "fine")
            task = await gateway.task("streamer", user_id="42")
            await page.event("partial_result")
            proxy.cut()
            error = await page.event("agent_error")
            assert error["error_type"] == "network_error"
            kept = page.all("partial_result_preserved")[0]
            assert kept["progress"] >= 0.5
            assert kept["preserved_text"] == "hel"
            again = await page.event("recovery_attempt")
            assert again["backoff_delay"] > 0
            assert again["max_attempts"] == 3
            finished = await page.finished(task["task_id"])
            assert finished["outcome"] == "succeeded"


@pytest.mark.requirement("WS-09")
async def test_after_a_transient_failure_there_is_one_recovery_and_then_normal_work() -> None:
    async with Upstream() as upstream:
        port = urllib.parse.urlsplit(upstream.url).port
        assert port is not None
        async with (
            Proxy(port) as proxy,
            gateway_process(upstream=f"http://127.0.0.1:{proxy.port}", retry_base=0.3) as gateway,
            browser(gateway.url, "42") as page,
        ):
            proxy.refuse = True
            task = await gateway.task("asker", user_id="42")
            await page.event("agent_error")
            proxy.refuse = False
            finished = await page.finished(task["task_id"])
            order = [
                event["type"]
                for event in page.events
                if event["type"] in ("agent_error", "system_recovered", "task_finished")
            ]
            assert order[0] == "agent_error"
            assert order[-2:] == ["system_recovered", "task_finished"]
            assert order.count("system_recovered") == 1
            assert page.all("system_recovered")[0]["recovery_successful"] is True
            assert finished["outcome"] == "succeeded"
            normal = await gateway.task("asker", user_id="42")
            answered = await page.finished(normal["task_id"])
            assert answered["duration"] < 5
            assert len(page.all("system_recovered")) == 1


@pytest.mark.requirement("WS-13")
async def test_an_agent_that_raises_is_replaced_by_its_fallback_and_the_user_is_told() -> None:
    async with (
        Upstream() as upstream,
        gateway_process(upstream=upstream.url) as gateway,
        browser(gateway.url, "42") as page,
    ):
        upstream.schedule("fine")
        task = await gateway.task("careful", "explode", user_id="42")
        finished = await page.finished(task["task_id"])
        error = page.all("agent_error")[0]
        assert error["error_type"] == "processing_error"
        recovery = page.all("recovery_attempt")[0]
        assert recovery["strategy"] == "fallback"
        assert page.all("system_recovered")[0]["scope"] == "task"
        assert finished["outcome"] == "succeeded"
        assert finished["degraded"] is True
        assert finished["served_by"] == "offline_answer"
        assert finished["result"] == "offline: explode"
        assert upstream.count == 1


@pytest.mark.requirement("WS-16")
async def test_every_error_is_followed_by_its_recovery_or_its_end() -> None:
    """Random failures of every kind; afterwards no error_id is left open."""
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    faults = ("fine", "500", "429_none", "reset_before", "200_garbage", "401", "s_drop", "429_ra0")
    async with (
        Upstream() as upstream,
        gateway_process(
            upstream=upstream.url, retry_base=0.02, retry_max=0.1, breaker_cooldown=0.2
        ) as gateway,
        browser(gateway.url) as operator,
    ):
        tasks = []
        for _ in range(times(40, 400)):
            upstream.schedule(*chance.choices(faults, k=6))
            agent = chance.choice(("asker", "once", "careful", "stepper", "streamer", "thread"))
            response = await gateway.http.post(
                "/api/tasks", json={"agent": agent, "input": {"question": "x"}, "timeout": 5}
            )
            assert response.status_code in (201, 503), (seed, response.text)
            if response.status_code == 201:
                tasks.append(response.json()["task_id"])
        for task_id in tasks:
            await operator.finished(task_id, within_s=30)
        opened = {event["error_id"] for event in operator.all("agent_error")}
        ended = {
            event["error_id"]
            for event in operator.events
            if event["type"] in ("system_recovered", "task_finished")
        }
        assert opened <= ended, f"seed {seed}"
        assert len(opened) > 3, f"seed {seed}"


async def test_what_is_estimated_is_what_was_observed_and_is_shown_everywhere() -> None:
    """A default at first; after three recoveries, how long those took."""
    async with (
        Upstream() as upstream,
        gateway_process(upstream=upstream.url, retry_base=0.4, retry_max=0.4) as gateway,
        browser(gateway.url) as page,
    ):
        for _ in range(4):
            upstream.schedule("500", "fine")
            await page.finished((await gateway.task("asker"))["task_id"])
        errors, recovered = page.all("agent_error"), page.all("system_recovered")
        sources = [error["recovery_estimate_source"] for error in errors]
        assert sources == ["default"] * 3 + ["observed_median"]
        # By the times of the log, as every node sees them.
        took = [
            seconds_of(end["timestamp"]) - seconds_of(error["timestamp"])
            for error, end in zip(errors, recovered, strict=True)
        ]
        observed = statistics.median(took[:3])
        assert errors[3]["estimated_recovery_time"] == pytest.approx(observed, abs=0.002)
        shown = (await gateway.get("/api/stats"))["recovery_times"]["asker"]
        ((kind, known),) = shown.items()
        assert (kind, known["count"]) == (errors[0]["error_type"], 4)
        assert known["median"] == pytest.approx(statistics.median(took), abs=0.002)
