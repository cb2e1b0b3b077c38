"""Agents whose attempts run in processes of their own; what they do is told by their input."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from gateway import Gateway, Task
from gateway.domain.settings import Settings
from gateway.errors import RateLimited

gateway = Gateway(Settings())

SLEEPS = ["sleep", "60"]
# Its parent ends at once, so that it is nobody's child.
ORPHAN = (
    f"import subprocess\nprint(subprocess.Popen({SLEEPS}, stdout=-3, start_new_session=True).pid)"
)


@gateway.agent("echo", isolation="process")
async def echo(task: Task, text: str = "") -> dict[str, Any]:
    return {"text": text, "pid": os.getpid(), "attempt": task.attempt, "user": task.user_id}


@gateway.agent("plain", isolation="process")
def plain(task: Task) -> dict[str, Any]:
    kept = task.preserved
    task.append("more")
    task.preserve("step", 2)
    task.progress(0.5, "halfway")
    task.plan("step", "other")
    return {"pid": os.getpid(), "text": kept.text, "steps": dict(kept.steps)}


@gateway.agent("generates", isolation="process")
def generates(task: Task) -> Iterator[Any]:
    yield "a"
    yield {"b": 1}


@gateway.agent("goes_on", isolation="process")
def goes_on(task: Task) -> Iterator[str]:
    yield "and after" if task.preserved.text else "nothing before"


@gateway.agent("streams", isolation="process")
async def streams(task: Task, pieces: int = 1) -> AsyncIterator[str]:
    for number in range(pieces):
        yield f"{number}\n"


@gateway.agent("flushes", isolation="process")
async def flushes(task: Task) -> str:
    task.append("kept")
    await task.flush()
    os._exit(3)


@gateway.agent("files", isolation="process")
def files(task: Task, hang: bool = False) -> str:
    (task.temp_dir() / "a").write_text("a")
    if hang:
        threading.Event().wait()
    return str(task.temp_dir())


class Unprintable:
    def __repr__(self) -> str:
        return "<unprintable>"


@gateway.agent("returns", isolation="process", accept={"type": ["string", "null"]})
async def returns(task: Task, what: str) -> Any:
    return {"none": None, "number": 1, "large": "x" * 300_000, "odd": Unprintable()}[what]


@gateway.agent("raises", isolation="process", exclude=(ZeroDivisionError,), upstream="model")
async def raises(task: Task, what: str) -> None:
    match what:
        case "limited":
            raise RateLimited("slow down", retry_after=7.0)
        case "excluded":
            raise ZeroDivisionError
        case "chained":
            try:
                raise ConnectionRefusedError("refused")
            except OSError as error:
                raise RuntimeError("wrapped") from error
        case "memory":
            raise MemoryError
        case "cancelled":
            raise asyncio.CancelledError
        case "exit":
            sys.exit(3)


@gateway.agent("dies", isolation="process")
async def dies(task: Task, how: str) -> None:
    task.append("last words")
    if how == "killed":
        await task.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(int(how))


@gateway.agent("hangs", isolation="process")
def hangs(task: Task) -> None:
    """It has a child in a session of its own, whose parent has ended, and one below itself."""
    subprocess.run([sys.executable, "-S", "-c", ORPHAN], check=True, stdout=subprocess.DEVNULL)
    subprocess.Popen(SLEEPS)
    task.append("hanging")
    threading.Event().wait()


@gateway.agent("idles", isolation="process", idle_timeout=0.3)
async def idles(task: Task) -> None:
    while True:
        pass


@gateway.agent("leaves", isolation="process", fallback=lambda task: f"fallback {os.getpid()}")
def leaves(task: Task) -> str:
    subprocess.Popen(SLEEPS, start_new_session=True)
    return "left"


@gateway.agent("floods", isolation="process")
def floods(task: Task) -> str:
    for _ in range(50):
        task.append("x" * 10_000)
    return "done"


@gateway.agent("blocks", isolation="process")
async def blocks(task: Task) -> None:
    task.append("before it blocks")
    while True:
        pass


@gateway.agent("careless", isolation="process")
async def careless(task: Task) -> str:
    async def fails() -> None:
        raise RuntimeError("nobody reads this")

    background = asyncio.create_task(fails())
    await asyncio.wait({background})
    return "done"


@gateway.agent("limited", isolation="process", timeout=1.0, max_attempts=2)
def limited(task: Task, question: str) -> None:
    """A plain function, which in a thread could not be stopped."""
    subprocess.run([sys.executable, "-S", "-c", ORPHAN], check=True, stdout=subprocess.DEVNULL)
    task.append(f"{os.getpid()}\n")
    threading.Event().wait()


@gateway.agent("fragile", isolation="process", max_attempts=2)
async def fragile(task: Task, question: str) -> str:
    """Its first attempt goes by itself, the second goes on from what was kept."""
    if task.attempt == 1:
        task.preserve("outline", question)
        await task.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return str(task.preserved.steps["outline"])


@gateway.agent("hungry", isolation="process", max_attempts=1)
async def hungry(task: Task, question: str) -> None:
    raise MemoryError


# --- not isolated, and with processes of their own -----------------------------------------------

FORK = multiprocessing.get_context("fork")


@gateway.agent("pools", max_attempts=1)
def pools(task: Task, question: str) -> list[int]:
    """A pool ends its processes with SIGTERM."""
    with FORK.Pool(2) as pool:
        return pool.map(abs, [-1, -2])


@gateway.agent("terminates", max_attempts=1)
def terminates(task: Task, question: str) -> int | None:
    """It ends one at once, and one after a while; and gives how the second has ended."""
    for wait_s in (0.0, 0.2):
        child = FORK.Process(target=threading.Event().wait)
        child.start()
        child.join(wait_s)
        child.terminate()
        child.join(10)
    return child.exitcode


@gateway.agent("lingers", max_attempts=1)
def lingers(task: Task, question: str) -> int:
    """It leaves two children; the one that `multiprocessing` does not know goes on for ever."""
    FORK.Process(target=threading.Event().wait).start()
    if (pid := os.fork()) == 0:
        threading.Event().wait()
    return pid


@gateway.agent("sessions", timeout=30.0, max_attempts=1)
def sessions(task: Task, question: str) -> None:
    """It has a child in a session of its own, as a browser is, and one that is nobody's child."""
    child = subprocess.Popen(SLEEPS, start_new_session=True)
    orphan = subprocess.run(
        [sys.executable, "-S", "-c", ORPHAN], check=True, stdout=subprocess.PIPE
    )
    task.preserve("pids", [child.pid, int(orphan.stdout)])
    threading.Event().wait()


@gateway.agent("forks", max_attempts=1)
def forks(task: Task, question: str) -> str:
    """It forks, spawns and has threads, isolated or not, and leaves some of it."""
    for context in (FORK, multiprocessing.get_context("spawn")):
        child = context.Process(target=abs, args=(-1,))
        child.start()
        child.join(20)
        assert child.exitcode == 0
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    subprocess.Popen(SLEEPS, start_new_session=True)
    return "done"


gateway.agent("forks-apart", max_attempts=1, isolation="process")(forks)


@gateway.agent("echo-apart", isolation="process")
async def echo_apart(task: Task, question: str) -> str:
    return question
