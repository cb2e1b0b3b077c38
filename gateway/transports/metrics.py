"""
Metrics at ``/metrics``, for Prometheus; ``docs/metrics.md`` says what each one means.

The rule: nothing here counts. States are read from the folds at each scrape, counts from where they
are kept anyway (the hub, the meters). A label's values are a list known here, or a name from
``Names``, which bounds them.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

import event_schemas
from gateway.domain.meters import OTHER, UNKNOWN_SHOWN, Histogram, Names
from gateway.domain.task import ENDED
from gateway.execution.service import Figures, Service
from gateway.protocol.mode_operations import MODES
from gateway.protocol.shapes import BREAKER_STATES, WORKER_STATUSES
from gateway.transports.access import Access
from gateway.transports.http import answer_errors
from gateway.transports.hub import Hub
from gateway.transports.limits import Limits
from gateway.transports.safe_headers import NO_STORE

__all__ = ["PATH", "Metrics", "metrics_route"]

PATH = "/metrics"
SCOPE = "admin"

# Whose number it is, where several nodes share a log.
OWN = " Of this node: add the nodes up."
SHARED = " Of the whole log: every node tells the same, so take one."

VERDICTS = ("recovered", "refused", "behind")
# Those of which users are told by an event, and those that the caller alone is told.
REASONS: tuple[str, ...] = (
    *event_schemas.bundle("request_rejected")["properties"]["reason"]["enum"],
    "too_many_connections",
    "too_many_workers",
)


class Metrics:
    """
    What is told at a scrape.

    Args:
        hub: Counts what is about connections.
        service: Has the figures and the meters.
    """

    def __init__(self, hub: Hub, service: Service) -> None:
        self._hub = hub
        self._service = service
        self._breakers = Names()
        self._domains = Names()
        # Of this process alone: an application around us may have a registry of its own.
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)

    def families(self) -> list[Metric]:
        """Read everything in one turn of the loop: what is told was so at one moment."""
        figures = self._service.figures()
        states = () if figures is None else self._states(figures)
        return [*states, *self._counts()]

    def process(self) -> Iterable[Metric]:
        """Read what the system says of this process; that may take some milliseconds."""
        return self._process.collect()

    def _states(self, now: Figures) -> Iterator[Metric]:
        yield _gauge("tasks_open", "Tasks that have not ended." + SHARED, now.tasks_open)
        yield _gauge(
            "tasks_without_end",
            "Open tasks whose deadline is over, so that they should have ended; has to be 0."
            + SHARED,
            now.tasks_without_end,
        )
        yield _gauge("queue_depth", "Tasks that wait." + SHARED, now.queue_depth)
        yield _gauge(
            "queue_oldest_age_seconds",
            "Age of the oldest task that waits; 0: none does." + SHARED,
            now.queue_oldest_age_s,
        )
        mode = {name: int(name == now.mode) for name in MODES}
        yield _gauges("mode", "1 for the mode that the gateway is in." + SHARED, "mode", mode)
        workers = {status: now.workers.get(status, 0) for status in WORKER_STATUSES}
        yield _gauges(
            "workers", "Workers, those that have gone included." + SHARED, "status", workers
        )
        yield self._health(now.health)
        yield self._breaker_states(now.breakers)
        yield self._failure_rates(now.domains)
        yield _gauge("log_events", "Events that the log keeps." + SHARED, now.log_events)
        yield _gauge("log_bytes", "Bytes that they have." + SHARED, now.log_bytes)
        yield _gauge("log_offset", "Offset of the newest event." + SHARED, now.log_offset)

    def _health(self, health: Mapping[str, float]) -> Metric:
        lowest: dict[str, float] = {}
        for name, score in health.items():
            label = self._service.meters.agents.of(name)
            lowest[label] = min(score, lowest.get(label, score))
        about = "Lowest health score of the workers of an agent, from 0 to 1." + SHARED
        return _gauges("agent_health_score", about, "agent", lowest)

    def _failure_rates(self, domains: Mapping[str, float]) -> Metric:
        highest: dict[str, float] = {}
        for name, rate in domains.items():
            label = self._domains.of(name)
            highest[label] = max(rate, highest.get(label, rate))
        about = "Share of the attempts that failed in a domain in the last 30 s." + SHARED
        return _gauges("domain_failure_rate", about, "domain", highest)

    def _breaker_states(self, breakers: Mapping[str, str]) -> Metric:
        found = Counter((self._breakers.of(name), state) for name, state in breakers.items())
        family = GaugeMetricFamily(
            "gateway_breaker_state",
            "1 for the state that a breaker is in; for all others together, how many are in it."
            + SHARED,
            labels=("breaker", "state"),
        )
        for label in dict.fromkeys(label for label, _ in found):
            for state in BREAKER_STATES:
                family.add_metric((label, state), found[label, state])
        return family

    def _counts(self) -> Iterator[Metric]:
        hub, meters = self._hub, self._service.meters
        ready = int(self._service.reason is None)
        yield _gauge("ready", "Whether this node should be asked now, as at /ready." + OWN, ready)
        yield _gauge("connections", "Subscribers that are connected." + OWN, hub.connections)
        finished = CounterMetricFamily(
            "gateway_tasks_finished",
            "Tasks that have ended, by agent and outcome." + OWN,
            labels=("agent", "outcome"),
        )
        # A series begins with 0: one that began with 1 would show no increase.
        for agent in (*meters.agents, OTHER):
            for outcome in sorted(ENDED):
                finished.add_metric((agent, outcome), meters.finished[agent, outcome])
        yield finished
        refused = {**dict.fromkeys(REASONS, 0), **meters.refused}
        yield _counters("rejections", "Requests that were refused." + OWN, "reason", refused)
        resumes = {**dict.fromkeys(VERDICTS, 0), **hub.resumes}
        yield _counters("resumes", "Subscriptions from a position." + OWN, "verdict", resumes)
        yield _counter("gaps", "Readers told that events are no longer kept." + OWN, hub.gaps)
        yield _counter(
            "slow_readers_freed",
            "Connections ended since their socket accepted nothing." + OWN,
            hub.slow_freed,
        )
        yield _counter(
            "stale_terms",
            "Reports that were refused since their term is over." + OWN,
            meters.stale_terms,
        )
        yield _counter(
            "unknown_exceptions",
            "Attempts that failed with an exception that no table knows." + OWN,
            meters.unknown.total,
        )
        yield _gauges(
            "unknown_exceptions_most",
            "The ten classes of exceptions that no table knows and that came most often." + OWN,
            "exception",
            dict(meters.unknown.most(UNKNOWN_SHOWN)),
        )
        yield _counters(
            "sign_ins_refused",
            "Sign-ins that were refused." + OWN,
            "reason",
            meters.sign_ins_refused,
        )
        alerts = {"sent": meters.alerts_sent, "dropped": meters.alerts_dropped}
        yield _counters(
            "alerts", "Alerts that were taken, and that were not." + OWN, "outcome", alerts
        )
        yield _histogram(
            "delivery_seconds",
            "From an event's acceptance in the log to its write to a socket." + OWN,
            meters.delivery,
        )
        yield _histogram(
            "detect_to_notify_seconds",
            "From the detection of a task's failure to the first write of its agent_error." + OWN,
            meters.detection,
        )


def metrics_route(hub: Hub, service: Service, access: Access, limits: Limits) -> BaseRoute:
    """Make the route of the metrics, which are for operators."""
    metrics = Metrics(hub, service)

    async def show(request: Request) -> Response:
        caller = await limits.admitted(request, access)
        caller.require(SCOPE)
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        body = await asyncio.to_thread(encode, _Scraped(metrics.families(), metrics))
        return Response(body, headers=NO_STORE, media_type=media_type)

    return Route(PATH, answer_errors(show), methods=["GET"])


class _Scraped(Collector):
    """What was read on the loop, and what is read beside it."""

    def __init__(self, families: Iterable[Metric], metrics: Metrics) -> None:
        self._families = families
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return itertools.chain(self._families, self._metrics.process())


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"gateway_{name}", about, value)


def _gauges(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"gateway_{name}", about, labels=(label,))
    for each, value in values.items():
        family.add_metric((each,), value)
    return family


def _counter(name: str, about: str, value: int) -> Metric:
    return CounterMetricFamily(f"gateway_{name}", about, value)


def _counters(name: str, about: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"gateway_{name}", about, labels=(label,))
    for each, value in values.items():
        family.add_metric((each,), value)
    return family


def _histogram(name: str, about: str, measured: Histogram) -> Metric:
    buckets = [(_bound(bound), within) for bound, within in measured.cumulative()]
    family = HistogramMetricFamily(f"gateway_{name}", about)
    family.add_metric((), buckets, measured.sum)
    return family


def _bound(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else str(bound)
