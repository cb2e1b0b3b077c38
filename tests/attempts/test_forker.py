"""The forker: safe with what modules do when they are imported, and gone with its starter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from tests.attempts.isolated import Isolated, Runs, the_forker
from tests.scenarios.harness import ROOT

STARTER = """
import asyncio
from tests.attempts.isolated import Isolated

async def main():
    here = Isolated()
    attempt = here.begin("hangs")
    await here.said.wait()
    print("hanging", flush=True)
    await attempt

asyncio.run(main())
"""


def test_a_module_that_starts_threads_is_imported_afresh_for_each_attempt(tmp_path: Path) -> None:
    """A fork would copy their locks as they are; this takes longer, and is safe."""
    from tests.attempts import threaded_agents

    threaded = threaded_agents.gateway.agents.get("threaded")
    assert threaded is not None

    async def work(here: Isolated) -> None:
        await here.make_with(threaded)
        assert here.failed is None
        assert here.result["pid"] != os.getpid()
        assert here.cleaned_up == (["process"], [])

    apart = Runs(tmp_path)  # the other tests' attempts would be as slow
    apart(work)
    apart.close()


def test_signals_for_the_whole_group_do_not_end_it_before_its_time(isolated: Runs) -> None:
    """A service manager sends SIGTERM to all processes, and running attempts have their grace."""

    async def work(here: Isolated) -> None:
        await here.attempts.prepare()
        forker = the_forker()
        forker.send_signal(signal.SIGTERM)
        forker.send_signal(signal.SIGINT)
        await here.make("echo")
        assert here.failed is None
        assert the_forker() == forker

    isolated(work)


def test_a_process_that_is_killed_leaves_no_attempts_and_no_folders(tmp_path: Path) -> None:
    """Also what had begun a session of its own ends; nobody is left who could do it later."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"hanging\n"
        everything = psutil.Process(starter.pid).children(recursive=True)
        assert len(everything) == 4
        starter.kill()
    _, living = psutil.wait_procs(everything, timeout=20)
    assert living == []
    assert list(tmp_path.iterdir()) == []
    assert tempfile.gettempdir() != str(tmp_path)
