"""
The folds and the log, in step: from the beginning, through absences of the store, and anew.

A gateway that starts begins with the newest snapshot and folds what came after it. While the
store is away it goes on with what it knows. When another log stands in the old one's place, or
entries were dropped before this node had seen them, it forgets everything and begins again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from typing import Protocol

from gateway.domain.errors import StoreUnavailable, Unavailable
from gateway.execution.absences import Absences
from gateway.execution.intake import Intake
from gateway.execution.state import State
from gateway.ports import Entry, EventLog, Snapshot

__all__ = ["Folds", "Saving", "StoreWatch"]

logger = logging.getLogger(__name__)

# The store is asked again after this when it did not take a snapshot, or gave none.
RETRY_S = 1.0
# Whoever was told to come back while the log is read may do so after this.
READING_RETRY_S = 1.0


class Saving(Protocol):
    """Writes the folds down, and reads them."""

    version: int

    def save(self, state: State) -> bytes:
        """Write down everything that the folds know."""

    def restore(self, state: State, body: bytes) -> None:
        """
        Let the folds know what was written down; they must know nothing yet.

        Raises:
            ValueError: If it cannot be read.
        """


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """
    How the folds are begun, written down, and forgotten.

    Attributes:
        save: Writes down what they know; None: they need not outlive this process.
        restore: Lets them know what was written down; raises ``ValueError`` if it cannot.
        version: Of the format; another one is not read.
        begin: Called when they know what the log says.
        forget: Lets them know nothing again.
        made_up: Called when the store was away and is back.
    """

    save: Callable[[], bytes] | None
    restore: Callable[[bytes], None]
    version: int
    begin: Callable[[], None]
    forget: Callable[[], None]
    made_up: Callable[[], None]


class StoreWatch:
    """
    Keeps the folds in step with the log.

    Args:
        log: The log; who follows it does so already.
        intake: To tell of absences.
        folds: What is kept in step.
        save_every: Entries after which a snapshot is saved: well before the log drops them.

    Attributes:
        absences: Those of the store, and who is told of them.
        on_saved: Called with the offset of a snapshot, for the other nodes to know.
    """

    def __init__(self, log: EventLog, intake: Intake, folds: Folds, *, save_every: int) -> None:
        self._log = log
        self._clock = intake.clock
        self.absences = Absences(log, intake)
        self._folds = folds
        self._save_every = save_every
        self._news = asyncio.Event()
        self._ready = asyncio.Event()
        self._read, self._to_read = 0, 0
        self._unsaved = 0
        self.on_saved: Callable[[int], None] = lambda offset: None

    # --- for others -------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether the folds know what the log says."""
        return self._ready.is_set()

    @property
    def reason(self) -> str | None:
        """Why this node should not be asked now, for operators; None: it should."""
        if not self.ready:
            share = f" ({self._read} of {self._to_read} entries)" if self._to_read else ""
            return f"the log is being read{share}"
        return None if self._log.available else self._log.reason or "the store is away"

    def require_ready(self) -> None:
        """
        Go on only when the folds know what the log says.

        Raises:
            Unavailable: If they do not yet.
        """
        if not self.ready:
            raise Unavailable(
                f"the gateway is not ready: {self.reason}", retry_after=READING_RETRY_S
            )

    async def until_ready(self) -> None:
        """Wait until the folds know what the log says."""
        await self._ready.wait()

    def applied(self, entry: Entry) -> None:
        """An entry was folded."""
        self._unsaved += 1
        if self._unsaved == self._save_every:
            self._news.set()
        self.absences.applied(entry)

    def saved_elsewhere(self, offset: int) -> None:
        """Another node has saved a snapshot: this one need not for a while."""
        self._unsaved = max(0, self._log.head - offset)

    # --- its life ---------------------------------------------------------------------------

    def renew(self) -> None:
        """Be of the loop that runs now; before ``run``, and before anybody waits."""
        self._news, self._ready = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Begin, stay in step, begin again when that is needed; until cancelled."""
        unwatch = self._log.watch(self._changed)
        try:
            while True:
                await self._begin()
                await self._stay()
                logger.warning("the log is another one, or has a hole: everything is read anew")
                self._ready.clear()
                self._folds.forget()
        finally:
            unwatch()

    def _changed(self) -> None:
        self.absences.look()
        self._news.set()

    async def _begin(self) -> None:
        after = await self._restored()
        await self._log.start(after=after, progress=self._progress)
        self._unsaved = max(0, self._log.head - after)
        self.absences.forget()
        self._folds.begin()
        self._ready.set()
        self._news.set()

    async def _restored(self) -> int:
        """Let the folds know the newest snapshot; gives its offset, 0 when there is none."""
        while True:
            try:
                snapshot = await self._log.load_snapshot()
                break
            except StoreUnavailable as error:
                logger.warning("no snapshot yet: %s", error)
                await self._clock.sleep(RETRY_S)
        if snapshot is None:
            return 0
        if snapshot.version != self._folds.version:
            logger.warning("the snapshot has format %d, the log is read whole", snapshot.version)
            return 0
        try:
            self._folds.restore(snapshot.body)
        except (ValueError, LookupError):
            logger.exception("the snapshot cannot be read, the log is read whole")
            self._folds.forget()
            return 0
        return snapshot.offset

    def _progress(self, read: int, to_read: int) -> None:
        self._read, self._to_read = read, to_read

    async def _stay(self) -> None:
        """Tell of absences, and save now and then; returns when all has to begin anew."""
        while not self._log.stale:
            await self._news.wait()
            self._news.clear()
            self.absences.look()
            if self.absences.over and not self._log.stale:
                self._folds.made_up()
                if not await self.absences.record():
                    self._news.set()
            if self._unsaved >= self._save_every and self._log.available:
                await self.save()

    async def save(self) -> None:
        """Save a snapshot, unless there is nothing new; a store that is away is tried later."""
        if self._folds.save is None or not self._unsaved or not self.ready:
            return
        # Both in one turn of the loop: the folds know exactly the head.
        snapshot = Snapshot(self._log.head, self._folds.version, self._folds.save())
        unsaved, self._unsaved = self._unsaved, 0
        try:
            await self._log.save_snapshot(snapshot)
            self.on_saved(snapshot.offset)
        except StoreUnavailable as error:
            logger.warning("a snapshot could not be saved: %s", error)
            self._unsaved += unsaved
