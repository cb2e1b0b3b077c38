"""
The watch over the store: it keeps the folds in step with the log, and saves them in time.

A gateway that starts restores the newest snapshot and folds what came after it. While the store is
away it goes on with what it knows. When another log stands in the old one's place, or entries were
dropped before this node had seen them, it drops everything it knows and begins again.

The rule: no entry is dropped by the log before a snapshot knows it (decision 11).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque

from gateway.domain.diagnostics import logger_of
from gateway.domain.errors import StoreUnavailable, Unavailable
from gateway.domain.settings import Settings
from gateway.execution.monitor import Monitor
from gateway.execution.node.absences import Absences
from gateway.execution.node.log_time import LogTime
from gateway.execution.reactions import Reactions
from gateway.execution.record.snapshot import READ, VERSION, restore, written
from gateway.execution.record.state import State
from gateway.ports import Entry, EventLog, Snapshot

__all__ = ["StoreWatch"]

logger = logger_of(__name__)

# A snapshot is due after this part of each of the log's bounds: an entry is saved long before it is
# dropped, even when some snapshots fail.
SAVES_PER_LOG = 4
# And after so many entries at the latest, however many the log keeps: a start folds no more than
# these, which takes some seconds.
ENTRIES_UNSAVED_MAX = 50_000
# The unsaved entries are counted in so many portions.
PORTIONS = 16
# What a store may keep beside an entry's own bytes, in bytes: subject, headers, topics. Measured on
# JetStream: 130 to 350, and 1100 with an expectation of another subject; an entry with detail takes
# less, since the entry holds the event twice. Too much is counted rather than too little: then a
# snapshot comes too soon.
BESIDE_ENTRY_BYTES = 1024
# A store that did not take something, or gave no snapshot, is asked again after this, in seconds.
RETRY_S = 1.0
# A caller that is refused while the log is read may come back after this, in seconds.
READING_RETRY_S = 1.0


@dataclasses.dataclass(slots=True)
class _Portion:
    """
    Some entries in a row.

    Attributes:
        at: When the first of them was accepted, in seconds since the Unix epoch.
        last: The offset of the last of them.
    """

    at: float
    entries: int = 0
    size: int = 0
    last: int = 0


class _Unsaved:
    """
    Counts the entries that no snapshot knows, by each of the log's bounds.

    Offsets have gaps in JetStream, so their difference is not a count; to remember every entry
    would take too much memory. So entries are counted in portions. A portion that is saved in part
    still counts whole: the next snapshot comes sooner, never later.
    """

    def __init__(self, settings: Settings) -> None:
        self._entries_max = min(settings.log_events / SAVES_PER_LOG, ENTRIES_UNSAVED_MAX)
        self._bytes_max = settings.log_bytes / SAVES_PER_LOG
        self._age_max_s = settings.log_age / SAVES_PER_LOG
        self._portions: deque[_Portion] = deque()
        self._entries = self._size = 0

    def __bool__(self) -> bool:
        return bool(self._portions)

    @property
    def full(self) -> bool:
        """Whether a snapshot is due by count or bytes."""
        return self._entries >= self._entries_max or self._size >= self._bytes_max

    @property
    def due_at(self) -> float | None:
        """When a snapshot is due by age, since the Unix epoch; None: nothing is unsaved."""
        return self._portions[0].at + self._age_max_s if self._portions else None

    def add(self, entry: Entry) -> None:
        """Count an entry that was folded."""
        if not self._portions or self._closed(self._portions[-1], entry.at):
            self._portions.append(_Portion(entry.at))
        portion, size = self._portions[-1], entry.size + BESIDE_ENTRY_BYTES
        portion.entries += 1
        portion.size += size
        portion.last = entry.offset
        self._entries += 1
        self._size += size

    def _closed(self, portion: _Portion, at: float) -> bool:
        return (
            portion.entries >= self._entries_max / PORTIONS
            or portion.size >= self._bytes_max / PORTIONS
            or at - portion.at >= self._age_max_s / PORTIONS
        )

    def saved(self, offset: int) -> None:
        """Count no more what a snapshot up to ``offset`` knows."""
        while self._portions and self._portions[0].last <= offset:
            portion = self._portions.popleft()
            self._entries -= portion.entries
            self._size -= portion.size

    def clear(self) -> None:
        """Count anew."""
        self._portions.clear()
        self._entries = self._size = 0


class StoreWatch:
    """
    Keeps the folds in step with the log.

    Args:
        log: The log; its followers follow already.
        state: The folds.
        reactions: Told when the folds begin, when they are lost, and when the store is back.
        absences: Notes when the store goes away, and records it afterwards.
        settings: The log's bounds.
        monitor: Calls when a snapshot is due by age.
        log_time: Learns the log's time, and tells it.
        durable: Whether the log outlives this process, so that snapshots of it are saved.

    Attributes:
        saved: Offset of the newest snapshot that this node has saved; 0: none yet.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        state: State,
        reactions: Reactions,
        absences: Absences,
        settings: Settings,
        monitor: Monitor,
        log_time: LogTime,
        durable: bool,
    ) -> None:
        self._log = log
        self._clock = log_time
        self._state = state
        self._reactions = reactions
        self._absences = absences
        self._settings = settings
        self._monitor = monitor
        self._log_time = log_time
        self._durable = durable
        self._news = asyncio.Event()
        self._ready = asyncio.Event()
        self._read, self._to_read = 0, 0
        self._unsaved = _Unsaved(settings)
        self._reminded_at: float | None = None
        self._saving = asyncio.Lock()
        self.saved = 0

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
        """Take in an entry that was folded."""
        if self._durable:
            first = not self._unsaved
            self._unsaved.add(entry)
            if first or self._unsaved.full:
                self._news.set()
        self._absences.applied(entry)

    def saved_elsewhere(self, offset: int) -> None:
        """Take in that another node has saved a snapshot up to ``offset``."""
        self._unsaved.saved(offset)

    # --- its life ---------------------------------------------------------------------------

    def renew(self) -> None:
        """Belong to the loop that runs now; to be called before ``run`` and before any wait."""
        self._news, self._ready = asyncio.Event(), asyncio.Event()
        self._saving = asyncio.Lock()

    async def run(self) -> None:
        """Begin, stay in step, begin again when the log asks for it; until cancelled."""
        unwatch = self._log.watch(self._changed)
        try:
            while True:
                await self._begin()
                await self._stay()
                logger.warning("the log is another one, or has a hole: everything is read anew")
                self._ready.clear()
                self._reactions.clear()
        finally:
            unwatch()

    def _changed(self) -> None:
        self._absences.look()
        self._news.set()

    async def _begin(self) -> None:
        after = await self._restored()
        # Entries that are read now count like later ones: the snapshot does not know them either.
        self._unsaved.clear()
        self._reminded_at = None  # the monitor may have dropped its timers
        await self._log.start(after=after, progress=self._progress)
        self._log_time.forget()
        while not await self._learnt_time():
            await self._clock.sleep(RETRY_S)
        self._look_for_loss(after)
        self._absences.forget()
        self._reactions.begin()
        self._ready.set()
        self._news.set()

    async def _learnt_time(self) -> bool:
        """Learn the log's time, before anything is decided by it; tells whether it answered."""
        if not self._log.stale:
            try:
                self._log_time.learn(await self._log.time())
            except StoreUnavailable as error:
                logger.warning("the log's time is not known: %s", error)
                return False
        return True

    def _look_for_loss(self, after: int) -> None:
        """Log it as critical if entries were dropped that the snapshot does not know."""
        oldest = self._log.oldest
        if self._durable and oldest > after + 1:
            logger.critical(
                "entries were lost unseen: what is saved ends at offset %d, and the log begins at "
                "%d; accepted tasks may be unknown now, and ended ones run again. "
                "The log dropped what no snapshot knew; see whether its bounds are too small "
                "(log_events=%d, log_bytes=%d, log_age=%g)",
                after,
                oldest,
                self._settings.log_events,
                self._settings.log_bytes,
                self._settings.log_age,
            )

    async def _restored(self) -> int:
        """Restore the newest snapshot into the folds; gives its offset, 0 when there is none."""
        while True:
            try:
                snapshot = await self._log.load_snapshot()
                break
            except StoreUnavailable as error:
                logger.warning("no snapshot yet: %s", error)
                await self._clock.sleep(RETRY_S)
        if snapshot is None:
            return 0
        if snapshot.version not in READ:
            logger.warning("the snapshot has format %d, the log is read whole", snapshot.version)
            return 0
        try:
            restore(self._state, snapshot.body)
        except (ValueError, LookupError):
            logger.exception("the snapshot cannot be read, the log is read whole")
            self._reactions.clear()
            return 0
        return snapshot.offset

    def _progress(self, read: int, to_read: int) -> None:
        self._read, self._to_read = read, to_read

    async def _stay(self) -> None:
        """Record absences and save snapshots, until the log is stale."""
        while not self._log.stale:
            await self._news.wait()
            self._news.clear()
            done = True
            self._absences.look()
            if self._absences.over and not self._log.stale:
                # This machine may have slept, and its monotonic clock with it.
                done = await self._learnt_time()
                if done:
                    self._reactions.made_up()
                    done = await self._absences.record()
            if self._due and self._log.available:
                done = await self.save() and done
            self._remind()
            if not done:
                # A store that is there may refuse all the same, at once and each time.
                await self._clock.sleep(RETRY_S)
                self._news.set()

    @property
    def _due(self) -> bool:
        due_at = self._unsaved.due_at
        return self._unsaved.full or (due_at is not None and due_at <= self._clock.wall())

    def _remind(self) -> None:
        """See to it that the watch wakes when a snapshot is due by age."""
        due_at = self._unsaved.due_at
        if due_at is not None and due_at != self._reminded_at:
            self._reminded_at = due_at
            self._monitor.at(due_at, self._reminded)

    async def _reminded(self) -> None:
        self._news.set()

    async def save(self) -> bool:
        """
        Save a snapshot, unless there is nothing new.

        It is of the moment at which this begins, and written in slices, between which the folds go
        on: no connection waits for it. One at a time; a second call waits for the first.

        Returns:
            Whether that is done; if not, it may be tried later.
        """
        async with self._saving:
            return await self._save()

    async def _save(self) -> bool:
        if not self._durable or not self._unsaved or not self.ready:
            return True
        # Until the first slice is written no other has a turn: the folds know exactly the head.
        epoch, offset = self._log.epoch, self._log.head
        try:
            body = await written(self._state, lambda: self._clock.sleep(0))
            if self._log.stale or self._log.epoch != epoch:
                return True  # another log stands in the place of the one that this is of
            snapshot = Snapshot(offset, VERSION, body)
            await self._log.save_snapshot(snapshot)
        except StoreUnavailable as error:
            logger.warning("a snapshot could not be saved: %s", error)
            return False
        except Exception:
            # A mistake of ours must not end the loop that calls this: it records absences, too.
            logger.exception("a snapshot could not be saved")
            return False
        self._unsaved.saved(snapshot.offset)
        self.saved = snapshot.offset
        return True
