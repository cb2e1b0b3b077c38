"""Scenarios of workers: claims, reports under a lease, registrations, locks."""

from __future__ import annotations

from tests.scenarios.steps import do, no, scenario
from tests.scenarios.table.words import (
    LEASE_MOVES,
    claimed,
    ended,
    held,
    lease,
    listed,
    proof,
    shown,
    task,
    the,
    worker,
)

__all__ = ["WORKERS"]

WORKERS = (
    scenario(
        "a worker claims the next task or a certain one, and again, and gives it back",
        worker("w", "claims"),
        worker("v", "claims"),
        worker("other", "claims-other"),
        do("task.claim", **proof("w"), gives=None),
        do("task.claim", **proof("w"), wait=0.05, gives=None),
        task("late", "claims"),
        task("urgent", "claims", priority=1),
        claimed("w", "urgent"),
        claimed("w", "urgent", **the("urgent"), lease_ttl=60),
        no("task_claimed", "task.claim", **proof("v"), **the("urgent")),
        no("conflict", "task.claim", **proof("other"), **the("late")),
        do("task.claim", **proof("other"), gives=None),
        claimed("v", "late", keep="theirs", **the("late")),
        do("task.release", **lease("w"), gives={"status": "pending", "lease": None}),
        no("stale_term", "task.release", **lease("w")),
        claimed("v", "urgent", **the("urgent")),
        do("agent.get", **the("v", "agent_id"), gives={"status": "healthy"}),
        ended("v"),
        ended("v", "theirs"),
        no("conflict", "task.claim", **proof("w"), **the("urgent")),
    ),
    scenario(
        "each move of a worker that does not hold the task is refused, before and after its end",
        worker("w", "stale"),
        worker("v", "stale"),
        task("task", "stale"),
        claimed("w", "task", keep="old"),
        do("task.release", **lease("w", "old")),
        claimed("v", "task", keep="claim"),
        *(
            no("stale_term", operation, **{**said, **more})
            for operation, more in LEASE_MOVES
            for said in (
                lease("w", "old"),  # the holder of an older term
                lease("w"),  # not the holder of this one
                {**lease("v"), "term": "{old.term}"},
            )
        ),
        # On a shared log another node might have given it: the answer comes a second later.
        no("stale_term", "task.complete", **{**lease("v"), "term": 3}),
        shown("task", status="running", attempt=2, progress=None),
        ended("v"),
        *(no("stale_term", name, **lease("v"), **more) for name, more in LEASE_MOVES),
    ),
    scenario(
        "a claim takes its lock with the task, and a refused claim takes neither",
        worker("w", "locked"),
        worker("v", "locked"),
        task("first", "locked"),
        task("second", "locked"),
        do(
            "task.claim",
            **proof("w"),
            resource_key="locked:file",
            keep="claim",
            gives={
                "task_id": "{first.task_id}",
                "lock": {"resource_key": "locked:file", "term": 1},
            },
        ),
        *(
            no(
                "lock_held",
                "task.claim",
                **proof("v"),
                resource_key="locked:file",
                **named,
                gives={"field": "resource_key", "holder": "{w.agent_id}"},
            )
            for named in ({}, the("second"), {"wait": 0.05})
        ),
        no("lock_held", "lock.acquire", resource_key="locked:file", holder="v"),
        do(
            "lock.acquire",
            resource_key="locked:file",
            holder="{w.agent_id}",
            gives={"renewed": True, "lock_id": "{claim.lock.lock_id}"},
        ),
        shown("second", status="pending"),
        claimed("v", "second", keep="theirs"),
        ended("w"),
        do(
            "task.claim",
            **proof("v"),
            **the("second"),
            resource_key="locked:file",
            gives={"lock": {"term": 2}},
        ),
        do("task.release", **lease("v", "theirs"), gives={"status": "pending"}),
        do("lock.acquire", resource_key="locked:file", holder="v", keep="lock", gives={"term": 3}),
        do("lock.release", **held("lock", "v", 3)),
        do("task.cancel", **the("second")),
    ),
    scenario(
        "a worker says goodbye, and its task goes to another one",
        worker("w", "bye"),
        worker("v", "bye"),
        task("task", "bye"),
        claimed("w", "task"),
        do("agent.get", **the("w", "agent_id"), gives={"tasks": ["{task.task_id}"]}),
        do("agent.remove", **proof("w"), gives={"status": "offline", "tasks": []}),
        no("not_found", "task.complete", **lease("w"), result=1),
        claimed("v", "task"),
        ended("v"),
    ),
    scenario(
        "a worker that drains or is asked to leave is given nothing more",
        worker("w", "leaves"),
        task("task", "leaves"),
        do("agent.heartbeat", **proof("w"), status="draining", loop_lag=0.5),
        do("task.claim", **proof("w"), gives=None),
        do("agent.heartbeat", **proof("w"), status="idle", gives={"shutdown": None}),
        no(
            "invalid_params", "agent.heartbeat", **proof("w"), health=1.1, gives={"field": "health"}
        ),
        do("agent.heartbeat", **proof("w"), health=0.5),
        do("agent.get", **the("w", "agent_id"), gives={"health_score": 0.9}),
        do("agent.shutdown", by="operator", **the("w", "agent_id"), grace=7),
        do("agent.heartbeat", **proof("w"), gives={"shutdown": {"grace": 7}}),
        do("agent.remove", **proof("w")),
        no("not_found", "agent.heartbeat", **proof("w")),
        do("task.cancel", **the("task")),
        # Nobody serves the task any more.
        beside=("task_waiting",),
    ),
    scenario(
        "workers register, beat, are shown and listed, and leave",
        worker(
            "w",
            "crew",
            type="llm",
            domain="zone-a",
            capabilities=["summarise", "translate"],
            agents=[{"name": "crew-a", "timeout": 5, "max_attempts": 2}, {"name": "crew-b"}],
        ),
        worker("v", "crew", domain=None, type=None),
        worker("u", "crew", by="bob", agents=[{"name": "crew-u"}]),
        no(
            "name_taken",
            "agent.register",
            by="bob",
            handle="crew",
            gives={"field": "handle"},
        ),
        do("agent.heartbeat", **proof("w"), status="busy", gives={"status": "healthy"}),
        do(
            "agent.get",
            **the("w", "agent_id"),
            gives={"agents": ["crew-a", "crew-b"], "domain": "zone-a", "type": "llm"},
        ),
        listed("agent.list", "w", "v", "u", handle="crew", status="healthy"),
        do("agent.list", handle="crew", limit=2, keep="first", gives={"next": "2"}),
        listed("agent.list", "u", handle="crew", limit=2, cursor="{first.next}"),
        listed("agent.list", handle="crew", status="offline"),
        do("agent.remove", **proof("v"), gives={"status": "offline"}),
        no("not_found", "agent.remove", **proof("v"), gives={"field": "agent_id"}),
        no("not_found", "agent.heartbeat", **proof("v"), gives={"field": "agent_id"}),
        listed("agent.list", "v", handle="crew", status="offline"),
        do("task.create", capability="translate", keep="task", gives={"status": "pending"}),
        do("task.claim", **proof("u"), gives=None),
        claimed("w", "task"),
        worker("w2", "crew", **proof("w"), agents=[{"name": "crew-c"}]),
        do(
            "agent.register",
            handle="crew",
            **proof("w"),
            gives={"agent_id": "{w.agent_id}", "tasks": [the("task")]},
        ),
        ended("w"),
    ),
    scenario(
        "a worker is believed for its secret alone",
        worker("w", "secret"),
        worker("v", "secret", by="bob", agents=[{"name": "secret-v"}]),
        task("task", "secret"),
        claimed("w", "task"),
        *(
            no("not_permitted", operation, **said, **more, gives={"field": "agent_secret"})
            for operation, more in (
                ("agent.heartbeat", {}),
                ("agent.remove", {}),
                ("agent.register", {"handle": "secret"}),
                ("task.claim", {}),
                *(
                    (name, {**more, "task_id": "{task.task_id}", "term": 1})
                    for name, more in LEASE_MOVES
                ),
            )
            for said in (
                {"agent_id": "{w.agent_id}", "agent_secret": "{v.agent_secret}"},
                {"agent_id": "{w.agent_id}"},
            )
        ),
        no(
            "not_permitted",
            "agent.heartbeat",
            by="operator",
            **the("w", "agent_id"),
            agent_secret="false",
        ),
        do("agent.heartbeat", by="operator", **the("w", "agent_id")),
        do("task.heartbeat", by="operator", **the("w", "agent_id"), **the("task"), term=1),
        do("agent.heartbeat", by="bob", **proof("w")),
        ended("w"),
        worker("chosen", "secret", agent_id="no-such-id", agent_secret="chosen by its owner"),
        no("not_found", "agent.heartbeat", agent_id="no-such-id"),
        do(
            "agent.heartbeat",
            **the("chosen", "agent_id"),
            agent_secret="chosen by its owner",
        ),
    ),
    scenario(
        "a lock is taken, renewed, refused to others and given back",
        do(
            "lock.acquire",
            resource_key="k:1",
            holder="h1",
            ttl=60,
            keep="lock",
            gives={"term": 1, "state": "held", "renewed": False},
        ),
        do(
            "lock.acquire",
            resource_key="k:1",
            holder="h1",
            ttl=90,
            gives={"lock_id": "{lock.lock_id}", "term": 1, "renewed": True},
        ),
        no(
            "lock_held",
            "lock.acquire",
            resource_key="k:1",
            holder="h2",
            gives={"field": "resource_key", "holder": "h1"},
        ),
        no("not_permitted", "lock.acquire", by="bob", resource_key="k:other", holder="h1"),
        do("lock.renew", **held("lock", "h1", 1), ttl=120),
        *(
            no("lock_held", operation, **held("lock", holder, term))
            for operation in ("lock.renew", "lock.release")
            for holder, term in (("h2", 1), ("h1", 2))
        ),
        *(
            no("not_permitted", operation, by="bob", **held("lock", "h1", 1))
            for operation in ("lock.renew", "lock.release")
        ),
        do("lock.release", **held("lock", "h1", 1), gives={"state": "released"}),
        do("lock.release", **held("lock", "h1", 1), gives={"state": "released"}),
        no("lock_expired", "lock.renew", **held("lock", "h1", 1)),
        do(
            "lock.acquire",
            by="bob",
            resource_key="k:1",
            holder="h2",
            keep="next",
            gives={"term": 2, "renewed": False},
        ),
        no("not_found", "lock.renew", **held("lock", "h1", 1)),
        no("not_found", "lock.release", **held("lock", "h1", 1)),
        do("lock.release", by="operator", **held("next", "h2", 2)),
    ),
    scenario(
        "a lock that ran out is over, and the next holder has a new one with a higher term",
        worker("w", "idle-while-a-lock-ends"),
        do("lock.acquire", resource_key="k:2", holder="e1", ttl=0.1, keep="lock"),
        do("task.claim", **proof("w"), wait=0.4, gives=None),
        no("lock_expired", "lock.renew", **held("lock", "e1", 1)),
        no("lock_expired", "lock.release", **held("lock", "e1", 1)),
        do(
            "lock.acquire",
            resource_key="k:2",
            holder="e1",
            ttl=0.1,
            gives={"term": 2, "renewed": False},
        ),
        do(
            "lock.acquire",
            again=True,
            by="bob",
            resource_key="k:2",
            holder="e2",
            keep="next",
            gives={"term": 3},
        ),
        do("lock.release", by="bob", **held("next", "e2", 3)),
    ),
)
