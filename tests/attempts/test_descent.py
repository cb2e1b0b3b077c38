"""Who is below a process: also what began a session of its own, and what its parent left."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

import psutil

from gateway.attempts.descent import children_of, descendants_of, kill_trees

# Adopts orphans, leaves one whose parent ends at once, and says what becomes of it and of a
# child that is kept.
ADOPTS = """
import os, subprocess, sys
from gateway.attempts.descent import adopt_orphans, children_of, kill_adopted
from gateway.attempts.processes import state_of
adopt_orphans()
kept = subprocess.Popen(["sleep", "60"])
leave = "import subprocess; subprocess.Popen(['sleep', '60'], start_new_session=True)"
subprocess.run([sys.executable, "-S", "-c", leave], check=True)
print(len(children_of(os.getpid())))
killed = kill_adopted(keep=[kept.pid])
print(len(killed), kept.pid in killed)
while kill_adopted(keep=[kept.pid]):
    pass
print(children_of(os.getpid()) == [kept.pid], state_of(kept.pid) in "SRD")
kept.kill()
while kill_adopted(keep=[]):
    pass
print(children_of(os.getpid()))
"""
# Has a child with a child, and waits for its input to end.
CHILD = (
    "import subprocess, sys; subprocess.Popen(['sleep', '60']); print(1, flush=True); "
    "sys.stdin.read()"
)
PARENT = f"""
import subprocess, sys
child = {CHILD!r}
subprocess.Popen([sys.executable, "-S", "-c", child], start_new_session=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def family() -> Iterator[tuple[subprocess.Popen[bytes], list[psutil.Process]]]:
    """A process, and those below it once they are there."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"1\n"
        below = psutil.Process(parent.pid).children(recursive=True)
        yield parent, below


def test_all_generations_are_below_a_process() -> None:
    with family() as (parent, below):
        assert len(below) == 2
        assert children_of(parent.pid) == [below[0].pid]
        assert sorted(descendants_of(parent.pid)) == sorted(process.pid for process in below)
        for process in below:
            process.kill()


def test_a_tree_is_killed_with_those_in_sessions_of_their_own() -> None:
    with family() as (parent, below):
        assert kill_trees([parent.pid]) == []
        _, living = psutil.wait_procs(below, timeout=10)
        assert living == []


def test_of_a_process_that_is_gone_nothing_is_said() -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    assert children_of(gone.pid) is None
    assert descendants_of(gone.pid) == []


def test_orphans_come_to_who_adopts_them_and_end_with_what_is_not_kept() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ADOPTS], check=True, capture_output=True, text=True, env=os.environ
    )
    assert ended.stdout.splitlines() == ["2", "1 False", "True True", "[]"]
