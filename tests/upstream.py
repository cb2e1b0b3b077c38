"""
A real HTTP server that fails in every way a language model's upstream does.

It speaks OpenAI chat completions and Anthropic messages (by path: ``…/messages`` is
Anthropic, everything else OpenAI), as JSON or as a stream, to the real SDKs. Its faults:

    fine            answers; as a stream when the request asks for one
    hold            answers once ``release()`` was called (or POST /control {"release": true})
    slow_<ms>       answers after so many milliseconds
    400_context 400_content_filter 400_billing 400_plain 401 402 403 404 408 409 413 422
    429_ra<s> 429_ms<ms> 429_date<s> 429_none 429_quota 429_xratelimit
    500 502_html 503 503_ra<s> 504 529
    200_garbage 200_html 200_empty_obj 200_error_body
    timeout         never answers             close_before    closes without an answer
    reset_before    RST without an answer     bad_http        does not speak HTTP
    body_cut        closes within the body    body_stall      stops within the body
    s_drop s_reset s_stall s_early_end s_badjson s_error      the same within a stream,
                    after the piece "hel"

``refused_url`` refuses connections, and the name in ``DNS_URL`` does not resolve.

In a test:

    async with Upstream() as upstream:
        client = AsyncOpenAI(base_url=upstream.url + "/v1", api_key="k", max_retries=0)
        upstream.schedule("503", "429_ra7", "fine")   # one per call; the last one stays
        ...
        assert upstream.count == 3 and upstream.times == sorted(upstream.times)
        await upstream.wait_for_calls(3)

or, for one client only, ``base_url=upstream.at("429_ra7") + "/v1"`` (path prefix
``/fault/<name>``, which the schedule does not notice).

In a process of its own: ``python -m tests.upstream --port 0`` prints
``ready http://127.0.0.1:PORT``. ``POST /control {"faults": [...], "answer": "...",
"release": true, "reset": true}`` controls it (each member is optional; reset clears the calls),
``GET /control`` gives ``{"count", "times", "calls", "faults", "refused_url"}``. Times are
seconds of the machine's monotonic clock, as ``loop.time()`` gives them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

from tests.upstream_faults import FAULTS, Drop, Exchange, Request, check_fault, play

__all__ = ["DNS_URL", "FAULTS", "Call", "Upstream", "upstream_process"]

DNS_URL = "http://nonexistent.invalid"

BODY_BYTES_MAX = 16 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Call:
    """One request to a model, in order of arrival; ``at`` is on the monotonic clock."""

    at: float
    path: str
    fault: str
    protocol: str
    stream: bool


class Upstream:
    """The server, as an async context manager, which ends all its connections on exit."""

    def __init__(self, *, port: int = 0, answer: str = "hello world") -> None:
        self.answer = answer
        self.calls: list[Call] = []
        self._port = port
        self._faults = ["fine"]
        self._released = asyncio.Event()
        self._called = asyncio.Condition()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        # Bound and not listening: no other process gets the port, and connecting is refused.
        self._refused = socket.socket()
        self._refused.bind(("127.0.0.1", 0))

    async def __aenter__(self) -> Upstream:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()
        self._refused.close()

    async def start(self) -> None:
        """Listen; after a ``stop``, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and end all connections: an upstream that is down."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def url(self) -> str:
        """The server's root, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def refused_url(self) -> str:
        """A root where connections are refused."""
        return f"http://127.0.0.1:{self._refused.getsockname()[1]}"

    @property
    def count(self) -> int:
        """How many calls arrived."""
        return len(self.calls)

    @property
    def times(self) -> list[float]:
        """When each call arrived, in seconds of ``loop.time()``."""
        return [call.at for call in self.calls]

    def at(self, fault: str) -> str:
        """A root where every call has this fault, whatever is scheduled."""
        check_fault(fault)
        return f"{self.url}/fault/{fault}"

    def schedule(self, *faults: str) -> None:
        """Set the faults of the calls to come, one per call, in this order; the last one stays."""
        assert faults
        for fault in faults:
            check_fault(fault)
        self._faults = list(faults)

    def release(self) -> None:
        """Answer every call that is on ``hold``, and those to come as well."""
        self._released.set()

    def reset(self) -> None:
        """Clear the calls and the schedule, and undo ``release``."""
        self.calls.clear()
        self._faults = ["fine"]
        self._released.clear()

    async def wait_for_calls(self, count: int, *, within_s: float = 10.0) -> None:
        """
        Wait until ``count`` calls have arrived in all.

        Raises:
            TimeoutError: If they have not arrived within ``within_s`` seconds.
        """
        async with asyncio.timeout(within_s), self._called:
            await self._called.wait_for(lambda: self.count >= count)

    # --- one connection -------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while (request := await _read_request(reader)) is not None:
                exchange = Exchange(
                    request, reader, writer, text=self.answer, released=self._released
                )
                await self._answer(request, exchange)
        except (Drop, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # cancelled only by `stop`, which waits for this
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, request: Request, exchange: Exchange) -> None:
        if request.path.startswith("/control"):
            try:
                await exchange.send_json(200, self._control(request))
            except ValueError as error:
                await exchange.send_json(400, {"error": str(error)})
            return
        if prefix := re.match(r"/fault/([^/]+)/", request.path):
            fault = prefix[1]
        else:
            fault = self._faults.pop(0) if len(self._faults) > 1 else self._faults[0]
        call = Call(
            at=asyncio.get_running_loop().time(),
            path=request.path,
            fault=fault,
            protocol=exchange.protocol,
            stream=exchange.wants_stream,
        )
        async with self._called:
            self.calls.append(call)
            self._called.notify_all()
        await play(fault, exchange)

    def _control(self, request: Request) -> dict[str, Any]:
        wish = request.json
        if wish.get("reset"):
            self.reset()
        if "faults" in wish:
            self.schedule(*wish["faults"])
        if "answer" in wish:
            self.answer = wish["answer"]
        if wish.get("release"):
            self.release()
        return {
            "count": self.count,
            "times": self.times,
            "calls": [dataclasses.asdict(call) for call in self.calls],
            "faults": self._faults,
            "refused_url": self.refused_url,
        }


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    length = re.search(r"(?im)^content-length: *(\d{1,9})", head)
    size = min(int(length[1]), BODY_BYTES_MAX) if length else 0
    return Request(path=head.split(" ", 2)[1], body=await reader.readexactly(size))


# --- a process of its own -------------------------------------------------------------------


@contextlib.asynccontextmanager
async def upstream_process() -> AsyncIterator[str]:
    """Run the server as a process of its own, and give its root URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.upstream", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(10):
            line = (await process.stdout.readline()).decode().split()
        assert line[0] == "ready"
        yield line[1]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _main(port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Upstream(port=port) as upstream:
        sys.stdout.write(f"ready {upstream.url}\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="an HTTP upstream that fails on demand")
    arguments.add_argument("--port", type=int, default=0, help="0 takes a free port")
    asyncio.run(_main(arguments.parse_args().port))
