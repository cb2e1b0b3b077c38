/**
 * The state that the page draws, and the events that wait to be folded into it.
 *
 * Events are folded together at the next frame: one fold for a burst costs little more than one
 * for an event. Everything else that changes the state comes after the events before it.
 */

import { emptyState, reduceAll } from "../client/gateway-client.js";

/** Folded at once beyond this, without waiting for a frame: a hidden page gets no frames. */
const QUEUE_MAX = 2000;

/**
 * @param {object} page changed(): the state is another one, draw it soon; digested(events): these
 *   events were folded
 */
export function stateStore({ changed, digested }) {
  let state = emptyState();
  let queue = [];

  function digest() {
    if (queue.length === 0) return;
    const events = queue;
    queue = [];
    state = reduceAll(state, events);
    digested(events);
  }

  return {
    /** The state as of the last fold. */
    get state() {
      return state;
    },

    /** Fold the events that wait. */
    digest,

    /** Begin anew with nothing known. */
    reset() {
      state = emptyState();
      queue = [];
      changed();
    },

    /** Take one event; it is folded soon. */
    take(event) {
      queue.push(event);
      if (queue.length >= QUEUE_MAX) digest();
      changed();
    },

    /** Replace the state by what `make` makes of it. */
    change(make) {
      digest();
      state = make(state);
      changed();
    },
  };
}
