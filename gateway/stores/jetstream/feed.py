"""
One ordered consumer: every message of the stream from some sequence on, in order, none left out.

It follows NATS ADR-17 (ordered consumer). The server sends as fast as the feed keeps up (flow
control) and numbers what it sends, so that a gap shows; when it has nothing to send it sends
heartbeats. When a number is missing, or nothing is heard, the feed makes the consumer again, from
the last message seen. The consumer belongs to one feed alone and lives in the server's memory; the
server removes it when nothing listens to it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from gateway.domain.diagnostics import logger_of
from gateway.stores.jetstream import wire
from gateway.stores.jetstream.session import ApiError, Msg, Session, SessionLost

__all__ = ["Delivery", "Feed"]

logger = logger_of(__name__)

# How often the server sends a heartbeat when it has nothing else to send.
_HEARTBEAT_S = 1.0
# After this much silence the consumer is gone, or a message got lost: three heartbeats are missing
# (the threshold of NATS ADR-15), and half a one is room for a slow network.
_SILENCE_MAX_S = 3.5
# A server that cannot make a consumer within this time is left for another one.
_CREATE_LIMIT_S = 2.0
# The server removes a consumer that nothing has listened to for this long.
_INACTIVE_S = 30.0

# The status of a message that the server sends of its own: heartbeats and flow control.
_CONTROL = "100"


class Delivery(NamedTuple):
    """
    One message of the stream.

    Attributes:
        sequence: Its place in the stream, from 1.
        at: When it was written, as its writer says, else when the stream accepted it, in seconds
            since the Unix epoch.
        id: The id that its writer gave it; None: none.
        stamped: Whether its writer said when.
    """

    sequence: int
    at: float
    subject: str
    payload: bytes
    id: str | None
    stamped: bool = False


class Feed:
    """
    Listens over one session, until the session is lost or the feed is closed.

    Args:
        take: Called with each message, in order; must neither wait nor raise.
        idle: Called when the server has nothing more to send.
        after: The sequence of the last message seen; the feed begins with the next one.
    """

    def __init__(
        self,
        session: Session,
        stream: str,
        *,
        take: Callable[[Delivery], None],
        idle: Callable[[], None],
        after: int,
    ) -> None:
        self._session = session
        self._stream = stream
        self._take = take
        self._idle = idle
        self._seen = after
        self._delivered = 0
        self._heard_at = 0.0
        self._broken = asyncio.Event()
        self._unsubscribe: Callable[[], Awaitable[None]] | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """
        Begin to listen.

        Raises:
            ApiError, SessionLost, TimeoutError: The consumer could not be made.
        """
        await self._listen()
        self._keeper = asyncio.create_task(self._keep(), name="jetstream feed")

    async def close(self) -> None:
        """Stop listening; a second call does nothing."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._end_listening()

    async def _end_listening(self) -> None:
        if self._unsubscribe is not None:
            await self._unsubscribe()
            self._unsubscribe = None

    async def _listen(self) -> None:
        self._broken.clear()
        self._delivered = 0
        self._heard_at = asyncio.get_running_loop().time()
        inbox = self._session.new_inbox()
        self._unsubscribe = await self._session.subscribe(inbox, self._hear)
        config = {
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": self._seen + 1,
            "ack_policy": "none",
            "max_deliver": 1,
            "replay_policy": "instant",
            "flow_control": True,
            "idle_heartbeat": round(_HEARTBEAT_S * 1e9),
            "inactive_threshold": round(_INACTIVE_S * 1e9),
            "mem_storage": True,
            "num_replicas": 1,
        }
        await self._session.api(
            f"CONSUMER.CREATE.{self._stream}",
            {"stream_name": self._stream, "config": config},
            timeout_s=_CREATE_LIMIT_S,
        )

    async def _keep(self) -> None:
        while True:
            await self._wait_broken()
            if self._session.lost.done():
                return
            logger.info("stream %s: listening again after %d", self._stream, self._seen)
            try:
                await self._end_listening()
                await self._listen()
            except SessionLost:
                return
            except (ApiError, TimeoutError) as error:
                # Without a feed the session is of no use; the link makes another one.
                logger.warning("stream %s cannot be listened to: %s", self._stream, error)
                await self._session.close()
                return

    async def _wait_broken(self) -> None:
        """Wait until a message is missing, or nothing has been heard for too long."""
        loop = asyncio.get_running_loop()
        while not self._session.lost.done() and not self._broken.is_set():
            left_s = self._heard_at + _SILENCE_MAX_S - loop.time()
            if left_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._broken.wait()

    async def _hear(self, msg: Msg) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if self._broken.is_set():
            return
        headers = msg.headers
        if headers is not None and wire.STATUS in headers:
            await self._hear_control(msg, headers)
            return
        # Where an acknowledgement would go says all about the message (NATS ADR-15, "JS Ack"):
        # $JS.ACK.[DOMAIN.ACCOUNT.]STREAM.CONSUMER.TRIES.SEQUENCE.DELIVERED.TIME.PENDING[.RANDOM]
        tokens = msg.reply.split(".")
        sequence, delivered, time_ns, pending = tokens[5:9] if len(tokens) == 9 else tokens[7:11]
        if int(delivered) != self._delivered + 1:
            self._broken.set()
            return
        self._delivered += 1
        self._seen = int(sequence)
        written_at = wire.written_at(headers)
        self._take(
            Delivery(
                self._seen,
                written_at or int(time_ns) / 1e9,
                msg.subject,
                msg.data,
                None if headers is None else headers.get(wire.MESSAGE_ID),
                stamped=written_at is not None,
            )
        )
        if pending == "0":
            self._idle()

    async def _hear_control(self, msg: Msg, headers: dict[str, str]) -> None:
        if headers[wire.STATUS] != _CONTROL:
            what = headers.get(wire.DESCRIPTION, "consumer ended")
            logger.info("stream %s: %s", self._stream, what)
            self._broken.set()
        elif go_on := msg.reply or headers.get("Nats-Consumer-Stalled"):
            # Flow control: the server sends on once it hears that all before this was taken. A
            # heartbeat repeats the address when an answer was lost.
            with contextlib.suppress(SessionLost):
                await self._session.publish(go_on)
        elif int(headers.get("Nats-Last-Consumer", self._delivered)) != self._delivered:
            self._broken.set()
        else:
            self._idle()
