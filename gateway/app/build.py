"""How the parts become one gateway; the one place that names concrete classes."""

from __future__ import annotations

import pathlib

from gateway.app.alarm import WebhookAlarm
from gateway.app.clock import RandomIds, SystemClock
from gateway.app.machine import ThisMachine
from gateway.attempts.agents import Agents
from gateway.domain.errors import ConfigurationError
from gateway.domain.meters import Meters
from gateway.domain.settings import Settings
from gateway.execution.engine import Engine
from gateway.execution.parts import Parts
from gateway.ports import Alarm, Clock, IdSource
from gateway.stores.memory import MemoryLog

__all__ = ["build_engine", "frontend_dir"]


def build_engine(settings: Settings, agents: Agents) -> Engine:
    """
    Put an engine together on the store that the settings name.

    Raises:
        ConfigurationError: If that store needs an extra that is not installed, or has no use for
            what is set.
    """
    if settings.store != "memory":
        return _durable_engine(settings, agents)
    for name in ("store_credentials", "store_ca", "store_cert"):
        if getattr(settings, name):
            raise ConfigurationError(
                f"{name} is set, and the store is memory: set store to nats://host:4222, too"
            )
    clock, ids = SystemClock(), RandomIds()
    log = MemoryLog(
        epoch=ids.uuid7(),
        clock=clock,
        events_max=settings.log_events,
        bytes_max=settings.log_bytes,
        age_max_s=settings.log_age,
    )
    meters = Meters()
    return Engine(
        Parts(
            log=log,
            clock=clock,
            ids=ids,
            settings=settings,
            agents=agents,
            machine=ThisMachine(),
            alarm=_alarm(settings, clock, ids, meters),
            meters=meters,
        )
    )


def _alarm(settings: Settings, clock: Clock, ids: IdSource, meters: Meters) -> Alarm | None:
    if not settings.alert_url:
        return None
    secret = settings.alert_secret
    return WebhookAlarm(settings.alert_url, secret=secret, clock=clock, ids=ids, meters=meters)


def _durable_engine(settings: Settings, agents: Agents) -> Engine:
    try:
        from gateway.stores.jetstream.access import Access
        from gateway.stores.jetstream.log import JetStreamLog
    except ModuleNotFoundError as error:
        if error.name not in ("nats", "nkeys"):
            raise
        raise ConfigurationError(
            "a store on NATS needs its client: pip install 'agent-failure-gateway[nats]'"
        ) from error
    clock, ids = SystemClock(), RandomIds()
    log = JetStreamLog(
        settings.store.split(","),
        clock=clock,
        ids=ids,
        events_max=settings.log_events,
        bytes_max=settings.log_bytes,
        age_max_s=settings.log_age,
        access=Access(
            settings.store_credentials, settings.store_ca, settings.store_cert, settings.store_key
        ),
        stream=settings.store_stream,
        replicas=settings.store_replicas,
        timeout_s=settings.store_timeout,
    )
    meters = Meters()
    return Engine(
        Parts(
            log=log,
            clock=clock,
            ids=ids,
            settings=settings,
            agents=agents,
            durable=True,
            pulse=log.pulse,
            machine=ThisMachine(),
            alarm=_alarm(settings, clock, ids, meters),
            meters=meters,
        )
    )


def frontend_dir() -> pathlib.Path:
    """Find the page: beside this file in an installed package, else in the checkout."""
    here = pathlib.Path(__file__).resolve().parent
    installed = here / "frontend"
    return installed if installed.is_dir() else here.parents[1] / "frontend_stub"
