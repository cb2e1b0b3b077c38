/** How long a client waits before its next try. */

import { isCrowded } from "./codes.js";

/** Added to the wait when the gateway is crowded, so that no client comes back at once. */
const CROWDED_WAIT_MS = 2_000;
/** Doubling ends here: the bound is reached long before, and numbers stay finite. */
const DOUBLINGS_MAX = 16;

/**
 * Choose a wait in milliseconds, anywhere between zero and a bound that doubles with each failure.
 *
 * The whole wait is random ("full jitter"): the clients of a gateway that restarts must not come
 * back in step.
 */
export function backoff(failures, { base_ms: baseMs, max_ms: maxMs, random = Math.random }) {
  return random() * Math.min(maxMs, baseMs * 2 ** Math.min(failures, DOUBLINGS_MAX));
}

/** What a client remembers in order to choose its waits: failures in a row, and a drain. */
export class Retry {
  /** Tries in a row that did not lead to a stable connection. */
  failures = 0;
  /** {at_ms, reason} after the gateway has announced its end, else null. */
  drain = null;
  #options;
  #liveSinceMs = null;

  /** @param {import("./options.js").Options} options of the client, completed. */
  constructor(options) {
    this.#options = options;
  }

  /** The frontend asks for a connection: no earlier failure counts. */
  reset() {
    this.failures = 0;
    this.#liveSinceMs = null;
  }

  /** The subscription was answered. */
  live() {
    this.drain = null;
    this.#liveSinceMs = performance.now();
  }

  /** Choose the wait after a cut, in milliseconds. */
  afterCut(code) {
    const { stable_after_ms: stableMs, drain_wait_max_ms: drainMaxMs } = this.#options;
    const sinceMs = this.#liveSinceMs;
    const wasStable = sinceMs !== null && performance.now() - sinceMs >= stableMs;
    this.#liveSinceMs = null;
    if (wasStable) this.failures = 0;
    const randomMs = this.#backoff() + (isCrowded(code) ? CROWDED_WAIT_MS : 0);
    this.failures += 1;
    if (this.drain === null) return randomMs;
    // The gateway staggers its clients itself; a random wait would only blur that.
    const askedMs = this.drain.at_ms - Date.now();
    this.drain = null;
    return Math.min(Math.max(askedMs, 0), drainMaxMs);
  }

  /** Choose the wait after a refused `connect` or `subscribe`, in milliseconds. */
  afterRefusal({ data }) {
    this.failures += 1;
    const askedMs = Number(data.retry_after ?? 0) * 1000;
    return Math.min(askedMs, this.#options.backoff_max_ms) + this.#backoff();
  }

  #backoff() {
    const { backoff_base_ms: baseMs, backoff_max_ms: maxMs } = this.#options;
    return backoff(this.failures, { base_ms: baseMs, max_ms: maxMs });
  }
}
