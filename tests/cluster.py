"""
Three NATS servers and two gateways on this machine, for trying out: ``make cluster``.

    python -m tests.cluster [module:gateway] [--port 8000] [--seconds 0]

The gateways share one log, which is on all three servers. Kill any one of the five processes:
nothing that was accepted is lost, and a browser goes on at the other gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from tests.nats import nats_cluster

READY_LIMIT_S = 60.0
ROOT = Path(__file__).parents[1]


async def start(target: str | None, *, store: str, port: int) -> asyncio.subprocess.Process:
    """Start a gateway and wait until it serves."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve", *([target] if target else [])),
        *("--port", str(port), "--store", store, "--store-replicas", "3"),
        *("--log-level", "warning"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(READY_LIMIT_S):
        line = (await process.stdout.readline()).decode().strip()
    if not line.startswith("ready "):
        raise SystemExit(f"the gateway did not start: {line or 'see above'}")
    sys.stdout.write(f"gateway  {line.removeprefix('ready ')}  (process {process.pid})\n")
    sys.stdout.flush()
    return process


async def main() -> None:
    parser = argparse.ArgumentParser(description="three NATS servers and two gateways")
    parser.add_argument("target", nargs="?", help="the gateways' agents, module:gateway")
    parser.add_argument("--port", type=int, default=8000, help="of the first; 0: free ones")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long; 0: until Ctrl-C")
    options = parser.parse_args()
    stopped = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stopped.set)
    async with nats_cluster(3) as servers:
        for server in servers:
            assert server.process is not None
            sys.stdout.write(f"NATS     {server.url}  (process {server.process.pid})\n")
        store = ",".join(server.url for server in servers)
        gateways = []
        try:
            for number in range(2):
                port = options.port and options.port + number
                gateways.append(await start(options.target, store=store, port=port))
            sys.stdout.write("both share one log; stop with Ctrl-C\n")
            sys.stdout.flush()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(options.seconds or None):
                    await stopped.wait()
        finally:
            for gateway in gateways:
                if gateway.returncode is None:
                    gateway.terminate()
            await asyncio.gather(*(gateway.wait() for gateway in gateways))


if __name__ == "__main__":
    asyncio.run(main())
