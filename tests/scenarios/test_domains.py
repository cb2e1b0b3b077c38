"""Workers of two zones: where they die work is slowed down, there alone, until it heals."""

from __future__ import annotations

import itertools
import signal
from typing import Any

import pytest

from gateway.domain.failure_domain import OUTCOMES_MIN, PERIOD_S
from gateway.domain.timestamps import seconds_of
from tests.scenarios.harness import Browser, GatewayProcess, browser, gateway_process
from tests.scenarios.test_leases import WorkerProcess, worker_process
from tests.transports.metrics import Scrape

Event = dict[str, Any]

SETTINGS: dict[str, Any] = {
    "target": None,
    "heartbeat_timeout": 0.8,
    "offline_after": 1.6,
    "breaker_cooldown": 0.5,
}
PROBES = 3
# Two events are a second apart by the log, whose times have milliseconds.
SLACK_S = 0.005


def begun(page: Browser, *workers: WorkerProcess, after: int, before: float = 1e18) -> list[float]:
    """When these workers began attempts between two offsets, in seconds."""
    holders = {worker.agent_id for worker in workers}
    return [
        seconds_of(event["timestamp"])
        for event in page.all("task_started")
        if event["agent_id"] in holders and after < event["offset"] < before
    ]


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


async def domain_of(gateway: GatewayProcess, name: str) -> Event:
    found: Event = (await gateway.get("/api/stats"))["by_domain"][name]
    return found


async def asked(gateway: GatewayProcess, tasks: int, question: str = "hello") -> list[str]:
    answers = [await gateway.task("zoned", question, user_id="42") for _ in range(tasks)]
    return [answer["task_id"] for answer in answers]


async def all_done(page: Browser, tasks: list[str]) -> None:
    for task_id in tasks:
        assert (await page.finished(task_id))["outcome"] == "succeeded"


@pytest.mark.requirement("FLUX-05", "FLUX-06", "FLUX-15")
async def test_where_workers_die_work_slows_down_alone_and_comes_back_when_it_heals() -> None:
    async with (
        gateway_process(**SETTINGS) as gateway,
        browser(gateway.url) as page,
        browser(gateway.url, "bystander") as bystander,
        worker_process(gateway.url, "zoned", domain="east") as doomed,
    ):
        piled = await asked(gateway, OUTCOMES_MIN, "pile")
        for _ in piled:
            await doomed.said("claimed")
        async with (
            worker_process(gateway.url, "zoned", domain="east") as left,
            worker_process(gateway.url, "zoned", domain="west") as other,
        ):
            for worker in (left, other):
                worker.go()
            doomed.send(signal.SIGKILL)
            opened = await page.event("circuit_breaker_triggered")
            assert (opened["scope"], opened["breaker"], opened["domain"]) == (
                "domain",
                "east",
                "east",
            )
            assert opened["failure_rate"] > 0.3
            # What the others have finished of it meanwhile counts as well.
            assert 3 < opened["failure_threshold_reached"] <= OUTCOMES_MIN
            assert await bystander.event("circuit_breaker_triggered") == opened
            shown = await domain_of(gateway, "east")
            assert shown["state"] != "closed"
            assert shown["failure_rate"] > 0.3
            scrape = Scrape((await gateway.http.get("/metrics")).text)
            assert scrape("domain_failure_rate", domain="east") > 0.3
            async with browser(gateway.url, "late", snapshot=True) as late:
                (known,) = late.subscribed["snapshot"]["breakers"]
                assert (known["name"], known["scope"]) == ("east", "domain")

            # What the dead one held and what comes now is done, in the other zone at full speed.
            await all_done(page, [*piled, *await asked(gateway, 20)])
            shown = await domain_of(gateway, "west")
            assert (shown["state"], shown["failure_rate"]) == ("closed", 0)
            await other.leave()

            # The zone is left alone with the rest: the first of it are its probes.
            rest = await asked(gateway, 9)
            urgent = (await gateway.task("zoned", user_id="42", priority=0))["task_id"]
            healed = await page.event("system_recovered", scope="domain")
            await all_done(page, [urgent, *rest])
            assert healed["error_id"] == opened["error_id"]
            assert (healed["user_id"], healed["domain"]) == ("*", "east")
            slow = begun(page, left, after=opened["offset"], before=healed["offset"])
            fast = begun(page, left, after=healed["offset"])
            at_full_speed = begun(page, other, after=opened["offset"])
            assert len(slow) >= PROBES
            # One may have been on its way into the log; then the next waits for its second, too.
            since = seconds_of(opened["timestamp"])
            for number, at in enumerate(slow):
                assert at - since > number * PERIOD_S - SLACK_S
            assert len(fast) > PROBES
            assert sum(gaps(fast)) < (len(fast) - 1) * PERIOD_S / 2
            assert len(at_full_speed) >= 20 - len(slow)
            assert min(gaps(at_full_speed)) < PERIOD_S / 2
            probes = page.all("circuit_breaker_test_request", breaker="east")
            assert len(probes) == PROBES
            assert {probe["user_id"] for probe in probes} == {"42"}
            assert (await domain_of(gateway, "east"))["state"] == "closed"
            # It was the zone that failed, and no agent.
            assert len(page.all("circuit_breaker_triggered")) == 1
            page.check(complete=True)
            await left.leave()


@pytest.mark.requirement("FLUX-15", "FLUX-W11")
async def test_a_zone_whose_probe_dies_is_slowed_down_again_and_heals_by_results_alone() -> None:
    async with (
        gateway_process(**SETTINGS) as gateway,
        browser(gateway.url) as page,
        worker_process(gateway.url, "zoned", domain="east") as dies,
    ):
        answer = await gateway.http.post("/api/breakers/east/open")
        assert (answer.status_code, answer.json()["scope"]) == (200, "domain")
        opened = await page.event("circuit_breaker_triggered")
        (held,) = await asked(gateway, 1, "hold")
        probe = await page.event("circuit_breaker_test_request")
        assert probe["task_id"] == held
        await dies.said("claimed")
        assert (await domain_of(gateway, "east"))["state"] == "half_open"
        dies.send(signal.SIGKILL)
        again = await page.event("circuit_breaker_triggered", breaker_version=2)
        assert (again["severity"], again["reopened"]) == ("critical", True)
        assert again["error_id"] == opened["error_id"]
        async with worker_process(gateway.url, "zoned", domain="east") as heals:
            # Nothing but the results of its probes brings it back.
            await heals.said("claimed")
            heals.go()
            await all_done(page, [held])
            assert page.all("system_recovered", scope="domain") == []
            assert (await domain_of(gateway, "east"))["state"] == "half_open"
            await all_done(page, await asked(gateway, PROBES - 1))
            healed = await page.event("system_recovered", scope="domain")
            assert (healed["error_id"], healed["attempts_made"]) == (opened["error_id"], 2)
            page.check(complete=True)
            await heals.leave()
