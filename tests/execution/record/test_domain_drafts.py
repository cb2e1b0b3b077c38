"""The drafts about failure domains: those of breakers, with a scope and a domain, and no agent."""

from __future__ import annotations

from gateway.domain.agent import AgentPolicy
from gateway.domain.breaker import BreakerRules
from gateway.domain.failure_domain import FailureDomain, subject_of
from gateway.domain.timestamps import rfc3339
from gateway.execution.record.domain_drafts import DomainDrafts
from tests.execution.record.room import NOW, Room, body_of

SEARCH = AgentPolicy("search")
SCOPED = ("domain", "eu-1", "eu-1")


def failing(failures: int = 10) -> FailureDomain:
    domain = FailureDomain("eu-1", "domain", BreakerRules(rate=0.3, cooldown_s=20.0))
    for number in range(failures):
        domain.ended(f"{number}", "failure", began_at=NOW, at=NOW)
    return domain


def opened(room: Room) -> FailureDomain:
    domain = failing()
    domain.told(body_of(DomainDrafts(room.intake).triggered(domain)), at=NOW, offset=1)
    return domain


async def test_an_opening_concerns_everyone_and_no_agent_and_says_why_and_how_long() -> None:
    room = Room()
    draft = DomainDrafts(room.intake).triggered(failing())
    event = body_of(draft)
    assert draft.subject == subject_of("eu-1")
    assert (event["scope"], event["breaker"], event["domain"]) == SCOPED
    assert (event["user_id"], event["agent_name"], event["task_id"]) == ("*", None, None)
    assert (event["failure_threshold_reached"], event["failure_rate"]) == (10, 1.0)
    assert (event["cooldown_period"], event["probe_at"]) == (20.0, rfc3339(NOW + 20))
    assert (event["breaker_version"], event["reopened"], event["severity"]) == (1, False, "error")
    assert event["fallback_active"] is False
    assert "slowed down" in event["user_message"]
    assert "eu-1" not in event["user_message"]


async def test_one_that_opens_again_is_the_same_failure_and_louder() -> None:
    room = Room()
    domain = opened(room)
    again = body_of(DomainDrafts(room.intake).triggered(domain))
    assert again["error_id"] == domain.error_id
    assert (again["breaker_version"], again["reopened"], again["severity"]) == (2, True, "critical")


async def test_a_probe_is_told_to_the_owner_of_its_task() -> None:
    room = Room(SEARCH)
    domain, task = opened(room), await room.task()
    draft = DomainDrafts(room.intake).test_request(domain, task, "search")
    event = body_of(draft)
    assert draft.subject == subject_of("eu-1")
    assert (event["task_id"], event["attempt"], event["user_id"]) == (task.task_id, 1, task.user_id)
    assert (event["agent_name"], event["breaker"], event["domain"]) == ("search", "eu-1", "eu-1")
    assert (event["error_id"], event["monitoring_enabled"]) == (domain.error_id, True)
    assert event["user_message"].startswith("We are trying")


async def test_a_closing_ends_the_failure_and_counts_the_openings() -> None:
    room = Room()
    domain = opened(room)
    room.clock.now += 42
    event = body_of(DomainDrafts(room.intake).closed(domain))
    assert (event["scope"], event["domain"], event["user_id"]) == ("domain", "eu-1", "*")
    assert (event["recovery_time"], event["attempts_made"]) == (42.0, 1)
    assert event["error_id"] == domain.error_id
    assert "full speed" in event["user_message"]
