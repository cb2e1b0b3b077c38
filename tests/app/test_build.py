"""An engine is put together on the store that the settings name."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.app.build import build_engine, frontend_dir
from gateway.attempts.agents import Agents
from gateway.domain.errors import ConfigurationError
from gateway.domain.settings import Settings
from gateway.stores.jetstream.log import JetStreamLog
from gateway.stores.memory import MemoryLog


def test_without_a_store_the_log_is_in_memory_and_ends_with_the_process() -> None:
    engine = build_engine(Settings(), Agents())
    assert isinstance(engine.log, MemoryLog)
    assert not engine.parts.durable
    assert engine.parts.others is None


def test_with_nats_the_log_outlives_the_process_and_is_shared() -> None:
    engine = build_engine(Settings(store="nats://127.0.0.1:1"), Agents())
    assert isinstance(engine.log, JetStreamLog)
    assert engine.parts.durable
    assert engine.parts.others is not None


@pytest.mark.parametrize("name", ["store_credentials", "store_ca", "store_cert"])
def test_a_log_in_memory_has_no_use_for_what_is_shown_to_nats(name: str) -> None:
    """Whoever sets it believes that the log outlives the process."""
    given: dict[str, Any] = {name: "file"}
    with pytest.raises(ConfigurationError, match=f"{name} is set, and the store is memory: set st"):
        build_engine(Settings(**given), Agents())
    build_engine(Settings(**given, store="nats://127.0.0.1:1"), Agents())


def test_two_gateways_in_memory_have_logs_of_their_own() -> None:
    one, two = (build_engine(Settings(), Agents()) for _ in range(2))
    assert one.log.epoch != two.log.epoch


def test_the_page_is_found() -> None:
    assert (frontend_dir() / "index.html").is_file()
