"""What this process uses of its machine."""

from __future__ import annotations

import time
from pathlib import Path

from gateway.app.machine import ThisMachine


def test_the_processor_time_of_this_process_grows_while_it_works() -> None:
    machine = ThisMachine()
    before = machine.busy_s()
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert 0.05 <= machine.busy_s() - before < 5


def test_memory_is_a_share_of_what_there_is() -> None:
    assert 0 < ThisMachine().memory_share() < 1


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    limit, none = tmp_path / "memory.max", tmp_path / "none"
    limit.write_text(f"{2 * 1024**3}\n")
    none.write_text("max\n")
    whole = ThisMachine(limits=(none, tmp_path / "missing")).memory_share()
    part = ThisMachine(limits=(none, limit)).memory_share()
    assert whole <= part


def test_where_nothing_is_known_nothing_is_told(tmp_path: Path) -> None:
    assert ThisMachine(statm=tmp_path / "missing").memory_share() == 0.0
