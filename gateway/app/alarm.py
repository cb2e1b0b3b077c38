"""
The alarm: events that need a person, sent to an address that the operator has set (webhooks).

Each is one POST with the event as its body, one after the other, in their order, by a thread of its
own: the gateway never waits for the receiver. What is not taken is sent again, ever more seldom.
While the receiver is away alerts wait; there is room for so many, and at the bound the oldest is
dropped. Redirects are not followed, and no proxy is asked: the address is the operator's alone.

With a secret each request is signed as Stripe's are: ``Gateway-Signature: t=SECONDS,v1=HEX``, where
the second is the HMAC-SHA256 of the seconds, a dot and the body. A receiver compares both, and
refuses what is older than some minutes.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.client
import json
import threading
from collections import deque
from urllib.parse import urlsplit

from gateway.domain.diagnostics import logger_of
from gateway.domain.meters import Meters
from gateway.ports import Clock, IdSource

__all__ = ["SIGNATURE", "WebhookAlarm", "signature"]

logger = logger_of(__name__)

SIGNATURE = "Gateway-Signature"

# Alerts that wait to be taken; at the bound the oldest is dropped, counted, and that is logged once
# until the receiver takes one again.
WAITING_MAX = 1_000
# How long the receiver has for each step of an answer, in seconds, and how much of it is read.
ANSWER_WAIT_S = 10.0
ANSWER_BYTES_MAX = 64 * 1024
# Seconds before an alert is sent again: doubled each time up to the longest, half of it random.
RETRY_BASE_S, RETRY_MAX_S = 1.0, 60.0
# An alert that was not taken for so long, in seconds, is dropped: it is no news any more.
AGE_MAX_S = 86_400.0
# How long the gateway's end waits for alerts to be taken, in seconds.
STOP_WAIT_S = 5.0


def signature(secret: str, body: bytes, at: int) -> str:
    """Sign a body, sent ``at`` seconds since the Unix epoch."""
    signed = b"%d." % at + body
    return f"t={at},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"


class WebhookAlarm:
    """
    An ``Alarm`` that sends what it is sounded with.

    Args:
        url: Where to.
        secret: What requests are signed with; empty: they are not.
        clock: The time.
        ids: Gives chance, for the waits between tries.
        meters: Where what was sent and dropped is counted.
    """

    def __init__(
        self, url: str, *, secret: str, clock: Clock, ids: IdSource, meters: Meters
    ) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = parts.netloc
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        # The path of a webhook is often a secret.
        self._shown = f"{parts.scheme}://{parts.netloc}"
        self._secret = secret
        self._clock = clock
        self._ids = ids
        self._meters = meters
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._failing = self._told_of_drops = False

    def start(self) -> None:
        """Begin to send."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="gateway-alarm", daemon=True)
        self._thread.start()

    def sound(self, event: bytes) -> None:
        """Take an event to be sent; never waits."""
        with self._changed:
            if len(self._waiting) >= WAITING_MAX:
                self._waiting.popleft()
                self._dropped(f"{WAITING_MAX} alerts wait, older ones are dropped")
            self._waiting.append((self._clock.monotonic(), event))
            self._changed.notify_all()

    async def stop(self) -> None:
        """Send what waits, each once more, for ``STOP_WAIT_S`` at the most; then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if (thread := self._thread) is not None:
            await asyncio.to_thread(thread.join, STOP_WAIT_S)
        if self._waiting:
            logger.warning("%d alerts were not taken by %s", len(self._waiting), self._shown)

    # --- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        tries = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                alert = since, event = self._waiting[0]
            refused = self._post(event)
            if refused is None:
                tries = 0
                self._taken(alert)
                continue
            tries += 1
            self._refused(refused)
            with self._changed:
                if self._clock.monotonic() - since > AGE_MAX_S and self._remove(alert):
                    self._dropped(f"an alert was not taken for {AGE_MAX_S:g} s, it is dropped")
                wait_s = min(RETRY_MAX_S, RETRY_BASE_S * 2.0 ** min(tries - 1, 16))
                self._changed.wait_for(
                    lambda: self._stopping, timeout=wait_s * (0.5 + self._ids.random() / 2)
                )
                if self._stopping:
                    return  # it was tried, and there may be no time for another

    def _remove(self, alert: tuple[float, bytes]) -> bool:
        """Let go of an alert, if it was not dropped meanwhile."""
        if self._waiting and self._waiting[0] is alert:
            self._waiting.popleft()
            return True
        return False

    def _taken(self, alert: tuple[float, bytes]) -> None:
        with self._changed:
            self._remove(alert)
            self._meters.alerts_sent += 1
            self._told_of_drops = False
        if self._failing:
            self._failing = False
            logger.info("%s takes alerts again", self._shown)

    def _refused(self, why: str) -> None:
        if not self._failing:
            self._failing = True
            logger.warning("%s does not take alerts: %s; they are sent again", self._shown, why)

    def _dropped(self, why: str) -> None:
        self._meters.alerts_dropped += 1
        if not self._told_of_drops:
            self._told_of_drops = True
            logger.error("%s does not take alerts: %s", self._shown, why)

    def _post(self, event: bytes) -> str | None:
        """Send one; None: it was taken, else why not."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "agent-failure-gateway",
            "Gateway-Event": json.loads(event)["type"],
        }
        if self._secret:
            headers[SIGNATURE] = signature(self._secret, event, int(self._clock.wall()))
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, timeout=ANSWER_WAIT_S)
        try:
            connection.request("POST", self._target, event, headers)
            response = connection.getresponse()
            response.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()
        return None if 200 <= response.status < 300 else f"HTTP {response.status}"
