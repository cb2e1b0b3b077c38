"""
The keeper of a worker: starts its process, sees it die, says so, cleans up, starts another.

A process that is killed says nothing. Its keeper knows within milliseconds what it held, and
tells: first that the attempts are lost, then, once it has looked, what became of what they
used. The next process comes back as the same worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import itertools
import logging
import math
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from gateway.attempts.cleanup import status_of
from gateway.attempts.folders import remove_folder
from gateway.attempts.processes import end_all, resident_bytes, state_of
from gateway.client.errors import CallFailed, Disconnected
from gateway.client.http_calls import HttpCalls
from gateway.worker.line import EXIT_MEMORY
from gateway.worker.pause import pause

__all__ = ["Keeper"]

logger = logging.getLogger(__name__)

# Between two looks at the memory of the process.
LOOK_EVERY_S = 0.1
# How long the news of a death is told to a gateway that does not answer, and how often.
REPORT_WITHIN_S = 30.0
REPORT_EVERY_S = 0.5
# The next process waits this long for the news to be out.
NEWS_FIRST_S = 2.0
# After one that died soon the next waits, up to a bound; one that lived this long was well.
RESTART_BASE_S, RESTART_MAX_S, DOUBLINGS_MAX = 0.25, 30.0, 7
WELL_AFTER_S = 30.0
# After its grace a process has this long to end by itself.
KILL_AFTER_S = 5.0
# What was written before the death is read within this.
LAST_WORDS_S = 1.0

# What every process of a worker uses.
RESOURCES = ("agent_memory", "process", "temp_files")

PREFIX, LOCK = "gateway-work-", "lock"

Key = tuple[str, int]


@dataclasses.dataclass(slots=True)
class _Process:
    """
    One process of the worker, and what it has said.

    Attributes:
        folder: Its temporary files are below.
        held: What it works on, by task and term.
        starved: What was out of memory, with what was cleaned up so far.
        left_with: The exit code with which it meant to leave; None: it did not mean to.
        registered: Whether the gateway knew it.
        resident_bytes: Its memory when last looked at.
        peak_bytes: The most memory it had.
        code: How it ended; negative: the signal.
    """

    process: subprocess.Popen[bytes]
    folder: pathlib.Path
    held: dict[Key, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    starved: dict[Key, dict[str, Any]] = dataclasses.field(default_factory=dict)
    left_with: int | None = None
    registered: bool = False
    resident_bytes: int = 0
    peak_bytes: int = 0
    code: int = 0


class Keeper:
    """
    Keeps one worker running.

    Args:
        arguments: Of ``gateway``, for the process that works.
        url: Of the gateway.
        token: None: an open gateway.
        grace_s: Seconds that running tasks get at the end.
        ready: Called with the worker's id when the gateway has accepted it, once.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        url: str,
        token: str | None,
        grace_s: float,
        ready: Callable[[str], None],
    ) -> None:
        self._arguments = list(arguments)
        self._token = token
        self._grace_s = grace_s
        self._ready = ready
        self._calls = HttpCalls(url, token=token)
        self._identity: dict[str, str] = {}
        self._process: _Process | None = None
        self._stopping = asyncio.Event()
        self._stop_by = math.inf
        # Deaths that are being told, and what was held then of which the gateway does not know.
        self._reports: set[asyncio.Task[None]] = set()
        self._telling: set[Key] = set()

    async def run(self) -> int:
        """Keep the worker running until SIGTERM or SIGINT, or until it leaves; its exit code."""
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, self._stop)
        with _base() as base:
            async with asyncio.TaskGroup() as reports:
                code = await self._keep(base, reports)
                await self._finish()
                return code

    async def _finish(self) -> None:
        """Let what is being told be told, as long as the grace lasts."""
        if not (self._stopping.is_set() and self._reports):
            return
        left_s = self._stop_by - asyncio.get_running_loop().time()
        # The grace may have been the process's, and its end is still worth a word.
        _, late = await asyncio.wait(self._reports, timeout=max(left_s, NEWS_FIRST_S))
        for report in late:
            report.cancel()

    def _stop(self) -> None:
        # Asked twice: at once.
        grace_s = 0.0 if self._stopping.is_set() else self._grace_s
        self._stop_by = asyncio.get_running_loop().time() + grace_s
        self._stopping.set()
        if (kept := self._process) is None:
            return
        _send(kept.process, signal.SIGTERM)
        _send(kept.process, signal.SIGCONT)
        asyncio.get_running_loop().call_later(
            self._grace_s + KILL_AFTER_S, lambda: _send(kept.process, signal.SIGKILL)
        )

    async def _keep(self, base: pathlib.Path, reports: asyncio.TaskGroup) -> int:
        loop = asyncio.get_running_loop()
        deaths = 0
        for number in itertools.count(1):
            began_at = loop.time()
            kept = self._start(base / str(number))
            await self._watch(kept)
            if kept.left_with is not None:
                await self._clear(kept)
                return kept.left_with
            if not kept.registered and not self._identity and kept.code > 0:
                return kept.code  # It could not even begin, and has said why.
            report = reports.create_task(self._tell(kept))
            self._reports.add(report)
            report.add_done_callback(self._reports.discard)
            await asyncio.wait({report}, timeout=NEWS_FIRST_S)
            if self._stopping.is_set():
                return 0
            deaths = 0 if loop.time() - began_at > WELL_AFTER_S else deaths + 1
            starved = kept.code == EXIT_MEMORY
            wait_s = min(RESTART_MAX_S, RESTART_BASE_S * 2 ** min(deaths - 1, DOUBLINGS_MAX))
            logger.warning(
                "the worker's process %s; starting another in %.2f s",
                "has run out of memory" if starved else f"has ended: {_ending(kept.code)}",
                wait_s,
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return 0
        raise AssertionError("processes are counted without end")

    # --- a process --------------------------------------------------------------------------

    def _start(self, folder: pathlib.Path) -> _Process:
        folder.mkdir()
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "gateway", *self._arguments, "--kept", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "TMPDIR": str(folder)},
                # A group of its own: what agents have started is found, and ends, with it.
                start_new_session=True,
            )
        hello = {"token": self._token, "telling": list(self._telling), **self._identity}
        ours.sendall(orjson.dumps(hello) + b"\n")
        self._line = ours
        self._process = kept = _Process(process, folder)
        return kept

    async def _watch(self, kept: _Process) -> None:
        """Listen until the process is dead."""
        pid = kept.process.pid
        listening = asyncio.create_task(self._listen(kept))
        dying = asyncio.create_task(asyncio.to_thread(os.wait4, pid, 0))
        before = 0
        while not dying.done():
            if (resident := resident_bytes(pid)) is not None:
                before, kept.resident_bytes = kept.resident_bytes, resident
            await asyncio.wait({dying}, timeout=LOOK_EVERY_S)
        # The last look may have seen it while it was being taken down.
        kept.resident_bytes = max(before, kept.resident_bytes)
        _, status, usage = dying.result()
        self._process = None
        kept.process.returncode = kept.code = os.waitstatus_to_exitcode(status)
        kept.peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        kept.resident_bytes = kept.resident_bytes or kept.peak_bytes
        await asyncio.wait({listening}, timeout=LAST_WORDS_S)
        listening.cancel()

    async def _listen(self, kept: _Process) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=self._line)
        try:
            while line := await reader.readline():
                said = orjson.loads(line)
                await self._heard(kept, said.pop("say"), said)
        except (OSError, ValueError, LookupError) as error:
            logger.warning("the worker's process does not speak as it should: %s", error)
        finally:
            writer.close()

    async def _heard(self, kept: _Process, kind: str, said: dict[str, Any]) -> None:
        key = (said.get("task_id", ""), said.get("term", 0))
        match kind:
            case "registered":
                first = not self._identity
                self._identity = said
                kept.registered = True
                if first:
                    self._ready(said["agent_id"])
            case "holds":
                kept.held[key] = said
            case "out_of_memory":
                kept.starved[key] = {**kept.held[key], "resources": [], "leftovers": []}
            case "cleaned":
                kept.starved[key] |= said
            case "ended":
                kept.held.pop(key, None)
            case "leaving":
                kept.left_with = said["code"]
            case "stopped":
                # Because this process was, which runs again.
                for _ in range(100):
                    if state_of(kept.process.pid) == "T":
                        break
                    await pause(0.01)
                _send(kept.process, signal.SIGCONT)

    # --- after its death --------------------------------------------------------------------

    async def _tell(self, kept: _Process) -> None:
        """Tell the gateway what was lost, then what became of what it used."""
        # Of several nobody can say which one has used up the memory.
        starved = kept.code == EXIT_MEMORY and len(kept.held) == 1
        why = (
            {"error_type": "resource_limit", "error_code": "memory_limit_exceeded"}
            if starved
            else {"error_type": "agent_lost", "error_code": "process_lost"}
        )
        detail = {"process": _ending(kept.code), "peak_bytes": kept.peak_bytes}
        told = list(kept.held.values()) + [
            about for key, about in kept.starved.items() if key not in kept.held
        ]
        until = asyncio.get_running_loop().time() + REPORT_WITHIN_S
        self._telling |= kept.held.keys()
        clearing = asyncio.create_task(self._clear(kept))
        try:
            for key, held in kept.held.items():
                message = f"the worker's process has ended: {_ending(kept.code)}"
                told_of = {**why, "message": message, "detail": detail}
                await self._call("task.fail", held, told_of, until=until)
                self._telling.discard(key)
        finally:
            leftovers = await clearing
        for about in told:
            kinds = {leftover.partition(":")[0] for leftover in leftovers}
            gone = [kind for kind in RESOURCES if kind not in kinds]
            gone += [name for name in about.get("resources", ()) if name not in gone]
            left = [*leftovers, *about.get("leftovers", ())]
            await self._call(
                "event.publish",
                about,
                {
                    **{name: about[name] for name in ("agent_name", "user_id", "attempt")},
                    "type": "resource_cleanup",
                    "resources_cleaned": gone,
                    # It was shared by all that it held.
                    "memory_freed": kept.resident_bytes // len(told),
                    "cleanup_status": status_of(gone, left),
                    "leftovers": left,
                },
                until=until,
            )

    async def _clear(self, kept: _Process) -> list[str]:
        """End what the process has started, remove its files, and look: what is still there?"""
        living = await asyncio.to_thread(end_all, [kept.process.pid], of=os.getsid)
        left = await asyncio.to_thread(remove_folder, kept.folder)
        leftovers = [f"process: {pid}" for pid in living]
        return leftovers + ([f"temp_files: {left} in {kept.folder.name}"] if left else [])

    async def _call(
        self, method: str, held: Mapping[str, Any], params: dict[str, Any], *, until: float
    ) -> None:
        whole = {
            "task_id": held["task_id"],
            "term": held["term"],
            **{name: self._identity[name] for name in ("agent_id", "agent_secret")},
            **params,
        }
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while True:
                    try:
                        await self._calls.call(method, whole)
                    except CallFailed as error:
                        if error.retry_after is None:
                            # Somebody was faster: the gateway itself, by the lost heartbeats.
                            logger.info("%s of task %s: %s", method, held["task_id"], error)
                            return
                        await pause(error.retry_after)
                    except Disconnected:
                        await pause(REPORT_EVERY_S)
                    else:
                        return
        # The gateway has noticed by itself that the worker is silent, or is gone itself.
        logger.warning("%s of task %s: nobody was there to be told", method, held["task_id"])


@contextlib.contextmanager
def _base() -> Iterator[pathlib.Path]:
    """
    Make a folder for temporary files, and remove those of keepers that were killed.

    A keeper that lives holds a lock in its own; one without a lock file is not ready yet.
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


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _send(process: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    # Not by the process itself, which would look whether it has ended, and take its end from us.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, sign)
