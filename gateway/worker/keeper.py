"""
The keeper of a worker: starts its process, sees it die, has its losses told, starts another.

A process that is killed says nothing. So it tells its keeper beforehand what it holds, and the
keeper knows within milliseconds what died with it. The rule: to the gateway, all processes of
one keeper are one worker; the next one comes back under the identity of the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import math
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from gateway.attempts.descent import adopt_orphans, reap_adopted
from gateway.attempts.folders import remove_folder
from gateway.attempts.processes import (
    EXIT_MEMORY,
    ending_of,
    peak_bytes_of,
    resident_bytes,
    state_of,
)
from gateway.client.http_calls import HttpCalls
from gateway.domain.diagnostics import logger_of
from gateway.worker.deputy import Deputy
from gateway.worker.losses import Losses, Process, clear
from gateway.worker.pause import pause

__all__ = ["Keeper"]

logger = logger_of(__name__)

# How often the memory of the process is looked at, in seconds.
LOOK_EVERY_S = 0.1
# How long the next process waits for the losses of the last one to be told.
LOSSES_FIRST_S = 2.0
# After a process that died soon the next one waits, twice as long each time, up to a bound. A
# process that lived for WELL_AFTER_S did not die soon.
RESTART_BASE_S, RESTART_MAX_S, DOUBLINGS_MAX = 0.25, 30.0, 7
assert RESTART_BASE_S * 2**DOUBLINGS_MAX >= RESTART_MAX_S
WELL_AFTER_S = 30.0
# How long a process may take to end by itself once its grace is over; then it is killed.
KILL_AFTER_S = 5.0
# How long what a process wrote before its death may take to be read.
LAST_WORDS_S = 1.0
# A process that says it was stopped is on its way to be: looks, and seconds between two.
STOP_LOOKS, STOP_LOOK_S = 100, 0.01

# The keeper's folder, and the file in it that a living keeper holds locked.
PREFIX, LOCK = "gateway-work-", "lock"


class Keeper:
    """
    Keeps one worker running.

    Args:
        arguments: Of ``gateway``, for the process that works.
        url: Of the gateway.
        token: None: an open gateway.
        grace_s: Seconds that running tasks get at the end.
        ready: Called with the worker's id when the gateway has accepted it, once.
        parent: The process that has started this one, and without which it ends as by SIGTERM;
            None: it goes on.
        adopt: Whether to be the parent of what the worker's processes leave behind, and to end
            that with them; for a process that has no other children. Linux only.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        url: str,
        token: str | None,
        grace_s: float,
        ready: Callable[[str], None],
        parent: int | None = None,
        adopt: bool = False,
    ) -> None:
        self._arguments = list(arguments)
        self._token = token
        self._grace_s = grace_s
        self._ready = ready
        self._parent = parent
        self._identity: dict[str, str] = {}
        calls = HttpCalls(url, token=token)
        self._adopt = adopt
        self._losses = Losses(calls, lambda: self._identity, keep=self._kept if adopt else None)
        self._deputy = Deputy(
            calls,
            lambda: self._identity,
            lambda process: _send(process.popen, signal.SIGKILL),
        )
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._stop_by = math.inf
        # One for each death that is being told.
        self._reports: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """
        Keep the worker running until SIGTERM or SIGINT, or until it leaves by itself.

        Returns:
            The exit code for this process.
        """
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, self._stop)
        if self._adopt:
            adopt_orphans()
        with _base() as base:
            async with asyncio.TaskGroup() as reports:
                code = await self._keep(base, reports)
                await self._finish()
                return code

    async def _finish(self) -> None:
        """Let the reports that are under way end, as long as the grace lasts."""
        if not (self._stopping.is_set() and self._reports):
            return
        left_s = self._stop_by - asyncio.get_running_loop().time()
        # The process may have used up the grace; its losses get a moment all the same.
        _, late = await asyncio.wait(self._reports, timeout=max(left_s, LOSSES_FIRST_S))
        for report in late:
            report.cancel()

    def _stop(self) -> None:
        # The second signal ends it at once.
        grace_s = 0.0 if self._stopping.is_set() else self._grace_s
        self._stop_by = asyncio.get_running_loop().time() + grace_s
        self._stopping.set()
        if (process := self._process) is None:
            return
        _send(process.popen, signal.SIGTERM)
        _send(process.popen, signal.SIGCONT)
        asyncio.get_running_loop().call_later(
            self._grace_s + KILL_AFTER_S, lambda: _send(process.popen, signal.SIGKILL)
        )

    async def _keep(self, base: pathlib.Path, reports: asyncio.TaskGroup) -> int:
        loop = asyncio.get_running_loop()
        deaths = 0
        for number in itertools.count(1):
            began_at = loop.time()
            process = self._start(base / str(number))
            await self._watch(process)
            if process.left_with is not None:
                await clear(process, keep=self._kept if self._adopt else None)
                return process.left_with
            if not process.registered and not self._identity and process.code > 0:
                return process.code  # It could not even begin, and has said why.
            report = reports.create_task(self._losses.tell(process))
            self._reports.add(report)
            report.add_done_callback(self._reports.discard)
            await asyncio.wait({report}, timeout=LOSSES_FIRST_S)
            if self._stopping.is_set():
                return 0
            deaths = 0 if loop.time() - began_at > WELL_AFTER_S else deaths + 1
            starved = process.code == EXIT_MEMORY
            wait_s = min(RESTART_MAX_S, RESTART_BASE_S * 2 ** min(deaths - 1, DOUBLINGS_MAX))
            logger.warning(
                "the worker's process %s; starting another in %.2f s",
                "has run out of memory" if starved else f"has ended: {ending_of(process.code)}",
                wait_s,
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return 0
        raise AssertionError("processes are counted without end")

    # --- a process --------------------------------------------------------------------------

    def _start(self, folder: pathlib.Path) -> Process:
        folder.mkdir()
        ours, theirs = socket.socketpair()
        with theirs:
            popen = subprocess.Popen(
                [sys.executable, "-m", "gateway", *self._arguments, "--kept", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "TMPDIR": str(folder)},
                # A session of its own: what agents have started is found, and ends, with it.
                start_new_session=True,
            )
        telling = list(self._losses.telling)
        hello = {"token": self._token, "telling": telling, **self._identity}
        ours.sendall(orjson.dumps(hello) + b"\n")
        self._line = ours
        self._process = process = Process(popen, folder)
        return process

    def _kept(self) -> set[int]:
        return set() if self._process is None else {self._process.popen.pid}

    async def _watch(self, process: Process) -> None:
        """Listen until the process is dead."""
        pid = process.popen.pid
        listening = asyncio.create_task(self._listen(process))
        standing_in = asyncio.create_task(self._deputy.watch(process))
        dying = asyncio.create_task(asyncio.to_thread(os.wait4, pid, 0))
        before = 0
        while not dying.done():
            if (resident := resident_bytes(pid)) is not None:
                before, process.resident_bytes = process.resident_bytes, resident
            if self._parent not in (None, os.getppid()) and not self._stopping.is_set():
                self._stop()
            if self._adopt:
                reap_adopted(self._kept())
            await asyncio.wait({dying}, timeout=LOOK_EVERY_S)
        standing_in.cancel()
        # The last look may have seen it while it was being taken down.
        process.resident_bytes = max(before, process.resident_bytes)
        _, status, usage = dying.result()
        self._process = None
        process.popen.returncode = process.code = os.waitstatus_to_exitcode(status)
        process.peak_bytes = peak_bytes_of(usage)
        process.resident_bytes = process.resident_bytes or process.peak_bytes
        await asyncio.wait({listening}, timeout=LAST_WORDS_S)
        listening.cancel()

    async def _listen(self, process: Process) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=self._line)
        try:
            while line := await reader.readline():
                said = orjson.loads(line)
                await self._heard(process, said.pop("say"), said)
        except (OSError, ValueError, LookupError) as error:
            logger.warning("the worker's process does not speak as it should: %s", error)
        finally:
            writer.close()

    async def _heard(self, process: Process, kind: str, said: dict[str, Any]) -> None:
        key = (said.get("task_id", ""), said.get("term", 0))
        now = asyncio.get_running_loop().time()
        if kind != "blocked":  # which is said by a thread beside the loop
            process.heard_at = now
        match kind:
            case "alive":
                process.blocked_at = None
            case "blocked":
                process.blocked_at = said["at"]
            case "registered":
                first = not self._identity
                process.beat_every_s = said.pop("beat_every_s")
                self._identity = said
                process.registered = True
                if first:
                    self._ready(said["agent_id"])
            case "holds":
                process.held[key] = {**said, "due": now + said["limit_s"]}
            case "out_of_memory":
                process.starved[key] = {**process.held[key], "resources": [], "leftovers": []}
            case "cleaned":
                process.starved[key] |= said
            case "ended":
                process.held.pop(key, None)
            case "leaving":
                process.left_with = said["code"]
            case "stopped":
                # It stopped itself because this keeper was stopped, which now runs again.
                for _ in range(STOP_LOOKS):
                    if state_of(process.popen.pid) == "T":
                        break
                    await pause(STOP_LOOK_S)
                _send(process.popen, signal.SIGCONT)


@contextlib.contextmanager
def _base() -> Iterator[pathlib.Path]:
    """
    Make a folder for temporary files, and remove those of keepers that were killed.

    A living keeper holds a lock in its own folder. A folder without a lock file is not ready yet.
    """
    base = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX))
    for other in base.parent.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), other.open("rb") as left:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_folder(other.parent)
    try:
        with (base / "unlocked").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (base / "unlocked").rename(base / LOCK)
            yield base
    finally:
        remove_folder(base)


def _send(popen: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    # Popen.send_signal would poll, and take the exit status that wait4 waits for.
    if popen.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(popen.pid, sign)
