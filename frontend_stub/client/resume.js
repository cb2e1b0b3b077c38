/**
 * How a stream goes on after a cut: what to ask for, which events are new, and when the client
 * has caught up.
 *
 * The rule that stays true: each event is handed on once, in growing offsets of one epoch. Where
 * that cannot be kept, `missed` says so and a snapshot takes the place of what is missing.
 */

import { Position } from "./position.js";

/**
 * What a resume tells its owner.
 *
 * @typedef {object} Owner
 * @property {function(string, object): void} emit tell the listeners: snapshot, event or missed
 * @property {function({expected: number, received: number}): void} replaying
 * @property {function(): void} live the client has caught up
 * @property {function(): void} reopen the stream cannot be trusted: connect again at once
 */

/** The stream of one client over all its connections. */
export class Resume {
  #owner;
  #position;
  #replay = null; // {expected, received, until} while catching up
  #needsSnapshot = true; // the listeners hold no state that a replay could continue

  /**
   * @param {import("./options.js").Options} options of the client, completed
   * @param {Owner} owner
   */
  constructor(options, owner) {
    this.#owner = owner;
    this.#position = new Position(options);
  }

  /** Where a new connection continues, or null. */
  get reached() {
    return this.#position.reached;
  }

  /** Write the position down, before the page goes away. */
  saveNow = () => this.#position.saveNow();

  /** What `subscribe` asks for, beside the topics. */
  request() {
    const since = this.#position.reached;
    return { snapshot: this.#needsSnapshot, ...(since ? { since } : {}) };
  }

  /** The connection was cut: what was being replayed is asked for again. */
  cut() {
    this.#replay = null;
  }

  /** Go on from the answer to `subscribe`. */
  subscribed({ since = null }, result) {
    const first = since === null;
    const isResumed = !first && result.recovered !== false;
    const isNewLog = !first && since.epoch !== result.epoch;
    if (!isResumed) this.#position.begin(result);
    this.#needsSnapshot = false;
    if (result.snapshot) {
      const { snapshot, epoch, offset } = result;
      this.#owner.emit("snapshot", { snapshot, epoch, offset, epoch_changed: isNewLog, first });
    }
    if (isResumed) {
      this.#beginReplay(result);
      return;
    }
    if (!first) {
      const reason = isNewLog ? "epoch_changed" : "history_gone";
      this.#owner.emit("missed", { complete: false, reason });
    }
    this.#owner.live();
    this.#position.saveSoon();
  }

  #beginReplay({ replayed, offset }) {
    this.#replay = { expected: replayed ?? 0, received: 0, until: offset };
    if (this.#replay.expected > 0 && this.#position.delivered < offset) {
      this.#owner.replaying({ expected: this.#replay.expected, received: 0 });
    } else {
      this.#caughtUp();
    }
  }

  #caughtUp() {
    const { received, until } = this.#replay;
    this.#replay = null;
    this.#position.cover(until);
    this.#owner.emit("missed", { complete: true, caught_up: received });
    this.#owner.live();
    this.#position.saveSoon();
  }

  /** Hand an event on, unless it is a repeat. */
  event(event) {
    if (this.#position.epoch === null) return;
    if (event.epoch !== this.#position.epoch) {
      this.#reopen({ needsSnapshot: true });
      return;
    }
    if (!(event.offset > this.#position.delivered)) return; // a repeat
    this.#position.deliver(event.offset);
    this.#position.saveSoon();
    const replay = this.#replay;
    // An event beyond the replay: fewer events came than the gateway had announced.
    if (replay && event.offset > replay.until) this.#caughtUp();
    this.#owner.emit("event", event);
    if (this.#replay === null) return;
    replay.received += 1;
    const { expected, received, until } = replay;
    if (received >= expected || event.offset === until) this.#caughtUp();
    else this.#owner.replaying({ expected, received });
  }

  /** Events were dropped before they were sent. No replay can bring them, so ask for a snapshot. */
  gap({ from, to }) {
    this.#owner.emit("missed", { complete: false, reason: "gap", from, to });
    this.#reopen({ needsSnapshot: true });
  }

  /**
   * A heartbeat names the offset up to which everything for this subscription was sent before it.
   * So a quiet client moves on with the log, and can resume when others have filled it meanwhile.
   */
  heartbeat(offset) {
    if (typeof offset !== "number" || this.#position.epoch === null) return;
    this.#position.cover(offset);
    // Fewer events came than the gateway had announced.
    if (this.#replay && offset >= this.#replay.until) this.#caughtUp();
    else this.#position.saveSoon();
  }

  #reopen({ needsSnapshot }) {
    this.#needsSnapshot ||= needsSnapshot;
    this.#owner.reopen();
  }
}
