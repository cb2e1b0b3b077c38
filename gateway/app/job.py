"""
``gateway run``: runs a command as cron would, and reports how it failed.

The command is not changed by being watched: its output goes where it went, its exit code is the
exit code, signals reach it. Only its stderr goes through a pipe, so that the last lines can be
reported. A gateway that is away changes nothing of that.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from types import FrameType
from typing import Any

import click

from gateway.app.clock import SystemClock
from gateway.app.report import recovered, report
from gateway.domain.names import is_name

__all__ = ["name_of", "run_job"]

# How much of stderr is reported: the last lines, each cut, in characters.
LINES_MAX = 20
LINE_CHARS_MAX = 500
# How much of it is read at a time, in bytes.
CHUNK_BYTES = 64 * 1024
# How long a command that was told to stop at its limit has to do so, in seconds; then it is killed.
GRACE_S = 10.0
# How long what the command has left running may hold its stderr open, in seconds.
LEFT_OPEN_S = 1.0

# As the shell and GNU's timeout have them.
NOT_FOUND, NOT_EXECUTABLE, TIMED_OUT, BY_SIGNAL = 127, 126, 124, 128
FORWARDED = (
    *(signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT),
    *(signal.SIGUSR1, signal.SIGUSR2),
)


def name_of(command: Sequence[str]) -> str:
    """Name a job after its command's file."""
    name = re.sub(r"[^A-Za-z0-9._~@:-]", "-", os.path.basename(command[0]))[:128]
    return name if is_name(name) else "job"


def run_job(
    command: Sequence[str],
    *,
    name: str,
    user_id: str,
    url: str,
    token: str | None,
    timeout_s: float | None,
    user_message: str | None = None,
) -> int:
    """
    Run a command to its end, and report it unless it ends with 0; a success ends what was reported.

    Args:
        command: Program and arguments.
        name: What the job is called; all its failures for one user are one failure.
        user_id: Whom it concerns.
        url: The gateway.
        token: A token with the scope ``agent``; None: an open gateway.
        timeout_s: Seconds after which it is ended with all its processes, on a terminal alone;
            None: any number.
        user_message: What the user is told when it fails, cut at 500 characters; None: the
            gateway has a sentence.

    Returns:
        The exit code: the command's own; 128 and the number of the signal that ended it; 124 when
        it was ended at its limit; 126 or 127 when it could not be started.
    """
    clock = SystemClock()
    began = clock.monotonic()
    where: dict[str, Any] = {"user_id": user_id, "url": url, "token": token}
    try:
        job = _Job(command)
    except OSError as error:
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        click.echo(f"gateway run: {command[0]}: {error.strerror}", err=True)
        detail = {"exit_code": code, "command": list(command)}
        ended = f"it could not be started: {error.strerror}"
        report(name, message=ended, user_message=user_message, detail=detail, **where)
        return code
    code, timed_out = job.wait(timeout_s)
    runtime_s = round(clock.monotonic() - began, 3)
    if code == 0:
        recovered(name, **where)
        return 0
    detail = {
        "exit_code": code,
        "runtime": runtime_s,
        "stderr": "\n".join(job.last_lines()),
        "command": list(command),
    }
    ended = f"it ended with exit code {code} after {runtime_s:g} s"
    if timed_out:
        ended = f"it was ended at its limit of {timeout_s:g} s"
    elif code > BY_SIGNAL and job.signal is not None:
        detail["signal"] = job.signal
        ended = f"it was ended by {job.signal} after {runtime_s:g} s"
    kind = "task_timeout" if timed_out else "agent_exception"
    said: dict[str, Any] = {"message": ended, "user_message": user_message}
    report(name, error_code=kind, detail=detail, **said, **where)
    return TIMED_OUT if timed_out else code


class _Job:
    """One process with what it starts."""

    def __init__(self, command: Sequence[str]) -> None:
        # On a terminal the job stays in our group, or it could not read from it; Ctrl-C then
        # reaches it without us.
        self._at_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._tail: deque[str] = deque(maxlen=LINES_MAX)
        self._cut = b""
        self.signal: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        # Before it is started, or a signal that comes at that moment would end us alone. Those that
        # we ignore it is to ignore as well: it was said with nohup.
        self._before = {
            number: signal.signal(number, self._forward)
            for number in FORWARDED
            if signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            self._process = subprocess.Popen(
                list(command),
                stderr=subprocess.PIPE,
                process_group=None if self._at_terminal else 0,
            )
        except OSError:
            self._restore()
            raise
        for number in self._early:
            self._kill(number)
        self._copying = threading.Thread(target=self._copy, daemon=True)
        self._copying.start()

    def wait(self, timeout_s: float | None) -> tuple[int, bool]:
        """Wait for the end; gives the exit code, and whether the limit brought it about."""
        assert self._process is not None
        timed_out = False
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            timed_out = True
            code = self._end(self._process)
        finally:
            self._restore()
        self._copying.join(LEFT_OPEN_S)
        if code < 0:
            self.signal = signal.Signals(-code).name
            code = BY_SIGNAL - code
        return code, timed_out

    def last_lines(self) -> list[str]:
        """Give the end of what it wrote to stderr, a line each."""
        rest = [_line(self._cut)] if self._cut else []
        return [*self._tail, *rest][-LINES_MAX:]

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        """End the process and all of its group."""
        self._kill(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        # Also when it has gone by itself: what it has started has the same limit.
        self._kill(signal.SIGKILL)
        return process.wait()

    def _kill(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._at_terminal:
                self._process.send_signal(number)
            else:
                os.killpg(self._process.pid, number)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        """Pass on a signal that we got; at a terminal those of its keys have come there already."""
        if self._process is None:
            self._early.append(number)
        elif not (self._at_terminal and number in (signal.SIGINT, signal.SIGQUIT)):
            self._kill(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _copy(self) -> None:
        """Copy the job's stderr to ours, and keep its end."""
        assert self._process is not None
        pipe = self._process.stderr
        assert pipe is not None
        while chunk := os.read(pipe.fileno(), CHUNK_BYTES):
            with contextlib.suppress(OSError, ValueError):  # ours is closed, or nobody reads it
                sys.stderr.buffer.write(chunk)
                sys.stderr.buffer.flush()
            *whole, self._cut = (self._cut + chunk).split(b"\n")
            self._cut = self._cut[-CHUNK_BYTES:]
            self._tail.extend(map(_line, whole))


def _line(text: bytes) -> str:
    return text.decode(errors="replace").rstrip("\r")[:LINE_CHARS_MAX]
