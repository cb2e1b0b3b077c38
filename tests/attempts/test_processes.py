"""What the operating system says of real processes, and how they end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.attempts import processes
from gateway.attempts.processes import end_all, resident_bytes, state_of

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes in groups of their own, and reaps them when the test is over."""
    started: list[subprocess.Popen[bytes]] = []

    def one(*command: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0))
        return started[-1]

    yield one
    for process in started:
        process.kill()
        process.communicate()


def with_child(start: Start) -> tuple[subprocess.Popen[bytes], int]:
    """A process, and the id of what it has started."""
    process = start("sh", "-c", "sleep 1000 & echo $!; wait")
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_process_that_ended_and_was_not_asked_how_is_a_zombie(start: Start) -> None:
    process = start("true")
    assert process.stdout is not None
    process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert state_of(process.pid) == "Z"
    assert resident_bytes(process.pid) is None
    process.wait()
    assert state_of(process.pid) is None


def test_the_name_of_a_program_does_not_pass_for_its_state(tmp_path: Path, start: Start) -> None:
    """proc(5): the name stands in parentheses before the state, and may hold anything."""
    odd = tmp_path / ") Z ("
    odd.symlink_to("/bin/sleep")
    assert state_of(start(str(odd), "1000").pid) in ("R", "S", "D")


def test_this_process_has_memory() -> None:
    own = resident_bytes()
    assert own is not None
    assert own > 10 * 1024**2
    assert resident_bytes(os.getpid()) == pytest.approx(own, rel=0.5)


@pytest.mark.parametrize("of", [os.getpgid, os.getsid])
def test_a_process_that_does_not_exist_is_ended_already(of: Callable[[int], int]) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert end_all([gone.pid], of=of) == []
    assert state_of(gone.pid) is None


def test_a_process_ends_with_what_it_has_started(start: Start) -> None:
    process, child = with_child(start)
    other = start("sleep", "1000")
    assert end_all([process.pid], of=os.getpgid) == []
    assert state_of(child) in (None, "Z")
    assert state_of(process.pid) == "Z"
    assert state_of(other.pid) != "Z"


def test_what_a_dead_process_has_started_is_found_by_its_group(start: Start) -> None:
    process, child = with_child(start)
    process.kill()
    process.wait()
    assert state_of(child) not in (None, "Z")
    assert end_all([process.pid], of=os.getpgid) == []
    assert state_of(child) in (None, "Z")


def test_where_there_is_no_proc_nothing_is_known(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    process = start("sleep", "1000")
    assert state_of(process.pid) is None
    assert resident_bytes() is None
    assert end_all([process.pid], of=os.getpgid) == []
    assert process.wait() == -9
