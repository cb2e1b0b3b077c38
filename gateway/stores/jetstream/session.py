"""
One connection to one NATS server, from its making to its loss; never revived.

A client of nats-py that reconnects keeps what it could not send and sends it later, when whoever
wrote it has long been told that the store is away. So ours never reconnects: a lost session is
replaced by a new one (``link``), and who had something under way decides for itself
what to do about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

__all__ = ["ApiError", "Msg", "Session", "SessionLost"]

logger = logging.getLogger(__name__)

# The connection is given up after this long without an answer to nats-py's own pings. The link
# looks after it much more often; this is for the time in which nobody else would notice.
_PING_INTERVAL_S = 10
_CONNECT_LIMIT_S = 2.0
_CLOSE_LIMIT_S = 1.0

NO_RESPONDERS = "503"

# What nats-py says when it cannot send, also because of what came first.
_CLOSED = (
    nats.errors.ConnectionClosedError,
    nats.errors.OutboundBufferLimitError,
    OSError,
)


# Called with an answer; None: the connection broke, and there will be none.
Answered = Callable[[Msg | None], None]


class SessionLost(Exception):
    """The connection broke; what was under way may have arrived or not."""


class ApiError(Exception):
    """
    The JetStream API says no.

    Attributes:
        err_code: Which error exactly, as the server numbers them; 0: nobody answers for it.
    """

    def __init__(self, err_code: int, description: str) -> None:
        super().__init__(description)
        self.err_code = err_code


class Session:
    """
    A connected client, with answers to its requests.

    Attributes:
        lost: Done when the connection has broken.
    """

    def __init__(self, client: Client, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inbox = client.new_inbox()
        self._numbers = itertools.count(1)
        self._answered: dict[str, Answered] = {}

    @classmethod
    async def connect(cls, url: str, *, name: str, timeout_s: float) -> Session:
        """
        Connect to the server at ``url``.

        Raises:
            OSError, TimeoutError, nats.errors.Error: Why it did not work.
        """
        client = Client()
        session: Session | None = None

        async def ended() -> None:
            if session is not None:
                session._end()

        async def failed(error: Exception) -> None:
            if session is None:
                raise error  # or nats-py would try again without telling
            if isinstance(error, (OSError, nats.errors.UnexpectedEOF)) or client.is_closed:
                session._end()
            else:
                logger.warning("nats: %s", error)

        try:
            async with asyncio.timeout(_CONNECT_LIMIT_S):
                await client.connect(
                    [url],
                    name=name,
                    allow_reconnect=False,
                    ping_interval=_PING_INTERVAL_S,
                    # No buffer for what cannot be sent now: it fails instead.
                    pending_size=0,
                    disconnected_cb=ended,
                    closed_cb=ended,
                    error_cb=failed,
                )
                session = cls(client, timeout_s=timeout_s)
                session._watch_tasks()
                await session.subscribe(session._inbox + ".*", session._take_answer)
        except BaseException:
            await _abort(client)
            raise
        return session

    @property
    def payload_bytes_max(self) -> int:
        """What the server takes in one message."""
        return self._client.max_payload

    @property
    def server_version(self) -> tuple[int, int]:
        """Major and minor."""
        version = self._client.connected_server_version
        return version.major, version.minor

    @property
    def servers(self) -> list[str]:
        """The addresses of the cluster's servers, as far as this one knows them."""
        return [uri.geturl() for uri in self._client.servers]

    def _watch_tasks(self) -> None:
        # When one of them fails, nats-py does not always say so, and nobody reads any more.
        for task in _tasks(self._client):
            task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("nats: %s", error)
        self._end()

    def _end(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        for answered in tuple(self._answered.values()):
            answered(None)
        self._answered.clear()

    async def close(self) -> None:
        """Break the connection; nothing more is sent, not even what is waiting to be."""
        self._end()
        await _abort(self._client)

    # --- messages ---------------------------------------------------------------------------

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        reply: str = "",
    ) -> None:
        """
        Send; returns at once, and messages are sent in the order of the calls.

        Raises:
            SessionLost: If it could not be sent.
        """
        if self.lost.done():
            raise SessionLost
        try:
            await self._client.publish(subject, payload, reply, headers)
        except _CLOSED as error:
            self._end()
            raise SessionLost from error

    def expect(self, answered: Answered) -> str:
        """Give an address for answers; ``forget`` it in the end."""
        reply = f"{self._inbox}.{next(self._numbers)}"
        self._answered[reply] = answered
        return reply

    def forget(self, reply: str) -> None:
        """Expect no answer there any more."""
        self._answered.pop(reply, None)

    async def _take_answer(self, msg: Msg) -> None:
        answered = self._answered.get(msg.subject)
        if answered is not None:
            answered(msg)

    async def stream_of_answers(
        self, subject: str, payload: bytes, take: Callable[[Msg], bool]
    ) -> None:
        """
        Ask, and take answers until ``take`` says True.

        Raises:
            SessionLost: The connection broke.
            TimeoutError: There was no answer, or none more, for as long as a call may last.
        """
        news = asyncio.Event()
        over = False

        def answered(msg: Msg | None) -> None:
            nonlocal over
            over = over or msg is None or take(msg)
            news.set()

        reply = self.expect(answered)
        try:
            await self.publish(subject, payload, reply=reply)
            while not over:
                news.clear()
                async with asyncio.timeout(self._timeout_s):
                    await news.wait()
            if self.lost.done():
                raise SessionLost
        finally:
            self.forget(reply)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        timeout_s: float | None = None,
    ) -> Msg:
        """
        Ask and give the one answer, which has ``timeout_s`` to come (None: as any call).

        Raises:
            SessionLost: The connection broke.
            TimeoutError: There was no answer for as long as a call may last.
        """
        future: asyncio.Future[Msg | None] = asyncio.get_running_loop().create_future()

        def answered(msg: Msg | None) -> None:
            if not future.done():
                future.set_result(msg)

        reply = self.expect(answered)
        try:
            await self.publish(subject, payload, reply=reply)
            async with asyncio.timeout(timeout_s or self._timeout_s):
                answer = await future
        finally:
            self.forget(reply)
        if answer is None:
            raise SessionLost
        return answer

    async def api(
        self,
        verb: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """
        Ask the JetStream API, see ``request``.

        Raises:
            ApiError: It says no.
            SessionLost, TimeoutError: There was no answer.
        """
        payload = b"" if arguments is None else orjson.dumps(arguments)
        return answer_of(await self.request(f"$JS.API.{verb}", payload, timeout_s=timeout_s))

    def new_inbox(self) -> str:
        """Give an address that nobody else has."""
        return self._client.new_inbox()

    async def subscribe(
        self, subject: str, take: Callable[[Msg], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        """Call ``take`` with each message, none dropped; returns a function that ends it."""
        try:
            # 0: no bound here; what comes is bounded by whoever asked for it.
            subscription = await self._client.subscribe(
                subject, cb=take, pending_msgs_limit=0, pending_bytes_limit=0
            )
        except _CLOSED as error:
            self._end()
            raise SessionLost from error

        async def end() -> None:
            with contextlib.suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

        return end


def answer_of(msg: Msg) -> dict[str, Any]:
    """
    Read the answer of the API, or of a stream that was published to.

    Raises:
        ApiError: It says no.
    """
    if not msg.data and (msg.headers or {}).get("Status") == NO_RESPONDERS:
        raise ApiError(0, "no server answers for this stream now")
    answer: dict[str, Any] = orjson.loads(msg.data)
    if error := answer.get("error"):
        raise ApiError(error.get("err_code", 0), error.get("description", "no reason given"))
    return answer


# nats-py ends politely: it first waits for what is unsent, for ever if the peer reads nothing, and
# when the connection breaks meanwhile it leaves its tasks behind. There is no public way around.
async def _abort(client: Client) -> None:
    writer = getattr(getattr(client, "_transport", None), "_io_writer", None)
    if writer is not None:
        writer.transport.abort()
    tasks = _tasks(client)
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_CLOSE_LIMIT_S):
            await client.close()
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_CLOSE_LIMIT_S)


def _tasks(client: Client) -> list[asyncio.Task[None]]:
    own = [
        getattr(client, name, None)
        for name in ("_reading_task", "_flusher_task", "_ping_interval_task")
    ]
    subscriptions = getattr(client, "_subs", {}).values()
    own += [getattr(each, "_wait_for_msgs_task", None) for each in subscriptions]
    return [task for task in own if task is not None]
