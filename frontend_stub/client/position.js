/** The position that a client has reached in the log, and its copy that outlives a reload. */

const SAVE_EVERY_MS = 250;

/**
 * How far the stream has been handed on.
 *
 * Two offsets say it. `delivered` is the newest event that was handed on; repeats are known by
 * it. Up to `covered` nothing is missing, although those events may concern other users only.
 */
export class Position {
  #epoch = null;
  #delivered = -1;
  #covered = -1;
  #keeper;
  #timer = null;

  /** @param {{storage: Storage, storage_key: string}} keeper where to keep the position. */
  constructor(keeper) {
    this.#keeper = keeper;
    const kept = this.#load();
    if (kept) this.begin(kept);
  }

  /** Name of the log, or null before the first subscription. */
  get epoch() {
    return this.#epoch;
  }

  /** Offset of the newest event that was handed on. */
  get delivered() {
    return this.#delivered;
  }

  /** Where a new connection continues, `{epoch, offset}`, or null before the first subscription. */
  get reached() {
    if (this.#epoch === null) return null;
    return { epoch: this.#epoch, offset: Math.max(this.#delivered, this.#covered) };
  }

  /** Begin at a place of a log, since nothing before it can be handed on. */
  begin({ epoch, offset }) {
    this.#epoch = epoch;
    this.#delivered = offset;
    this.#covered = offset;
  }

  /** Note that an event is handed on. */
  deliver(offset) {
    this.#delivered = offset;
  }

  /** Note that nothing up to this offset is missing. */
  cover(offset) {
    this.#covered = Math.max(this.#covered, offset);
  }

  /**
   * Write the position down soon, at most four times a second. A position that is too old repeats
   * history after a reload; one that is too new would lose events.
   */
  saveSoon() {
    if (this.#keeper.storage && this.#timer === null) {
      this.#timer = setTimeout(this.saveNow, SAVE_EVERY_MS);
    }
  }

  /** Write the position down. */
  saveNow = () => {
    clearTimeout(this.#timer);
    this.#timer = null;
    if (!this.#keeper.storage || this.#epoch === null) return;
    try {
      this.#keeper.storage.setItem(this.#keeper.storage_key, JSON.stringify(this.reached));
    } catch {
      // The storage is full or refused: a reload then begins with a snapshot.
    }
  };

  #load() {
    try {
      const kept = JSON.parse(this.#keeper.storage?.getItem(this.#keeper.storage_key) ?? "null");
      return typeof kept?.epoch === "string" && Number.isInteger(kept.offset) ? kept : null;
    } catch {
      return null; // The storage is refused or garbled: begin with a snapshot.
    }
  }
}
