/** Calls that wait for their answer: JSON-RPC requests by id. */

import { CallError, NoAnswer } from "./codes.js";

/** The ids grow over all connections, so that no two requests in a recording are alike. */
let newestId = 0;

/** The open calls of one connection. Each call ends once: answered, refused, late or given up. */
export class Calls {
  #open = new Map(); // id → {method, done, timer}
  #write;

  /** @param {function(string): void} write sends the text of one frame. */
  constructor(write) {
    this.#write = write;
  }

  /** Send a request. `done(error, result)` is called once, at the latest after `timeoutMs`. */
  send(method, params, timeoutMs, done) {
    newestId += 1;
    const id = newestId;
    const timer = setTimeout(() => {
      this.#open.delete(id);
      done(new NoAnswer(method, `no answer within ${timeoutMs / 1000} s`));
    }, timeoutMs);
    this.#open.set(id, { method, done, timer });
    this.#write(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
  }

  /**
   * Take a response. `done` runs in this very turn: events may follow the answer in the next
   * frame, and they rely on it.
   */
  answer({ id, error, result }) {
    const call = this.#open.get(id);
    if (call === undefined) return;
    this.#open.delete(id);
    clearTimeout(call.timer);
    if (error) call.done(new CallError(call.method, error));
    else call.done(null, result);
  }

  /** Reject every open call; no answer can come any more. */
  giveUp(why) {
    for (const { method, done, timer } of [...this.#open.values()]) {
      clearTimeout(timer);
      done(new NoAnswer(method, why));
    }
    this.#open.clear();
  }
}
