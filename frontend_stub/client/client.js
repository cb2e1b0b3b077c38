/**
 * The browser's client of a gateway: it connects, subscribes, and after every cut it comes back
 * to the event that it had reached.
 *
 * This file holds the coming and going: which state the client is in, and when it tries again.
 * One connection is `connection.js`, what happens to the stream over a cut is `resume.js`.
 *
 * What the listeners are told, and under which names, stands in `gateway-client.js`.
 */

import { Retry } from "./backoff.js";
import { NoAnswer, isClosedForGood, isRefusedForGood } from "./codes.js";
import { Connection } from "./connection.js";
import { completed } from "./options.js";
import { Resume } from "./resume.js";

/** A client that stays connected; see the head of this file. */
export class GatewayClient extends EventTarget {
  #url;
  #options;
  #topics = []; // added with subscribe(), beside those of options.topics
  #connection = null;
  #state = { name: "closed", code: null, reason: "not started", error: null };
  #session = null;
  #resume;
  #retry;
  #aheadMs = Date.now() - performance.now(); // the gateway's clock minus one that nobody sets
  #degradation = null;
  #retryTimer = null;

  /**
   * @param {string} url of the gateway's WebSocket, `ws://host/ws` or `wss://host/ws`.
   * @param {import("./options.js").Options} [options]
   */
  constructor(url, options = {}) {
    super();
    this.#url = String(url);
    this.#options = completed(options);
    this.#retry = new Retry(this.#options);
    this.#resume = new Resume(this.#options, {
      emit: (name, detail) => this.#emit(name, detail),
      replaying: (progress) => this.#enter({ name: "replaying", ...progress }),
      live: () => this.#enterLive(),
      reopen: () => this.#open(),
    });
  }

  /** The state that was told last. */
  get state() {
    return this.#state;
  }

  /** The newest result of `connect`, or null. */
  get session() {
    return this.#session;
  }

  /** Where a new connection continues: {epoch, offset}, or null before the first subscription. */
  get position() {
    return this.#resume.reached;
  }

  /** The gateway's clock, in ms; for countdowns to the times that events name. */
  serverNow() {
    return performance.now() + this.#aheadMs;
  }

  /** Listen; returns a function that stops listening. */
  on(name, listener) {
    const unwrap = (wrapped) => listener(wrapped.detail);
    this.addEventListener(name, unwrap);
    return () => this.removeEventListener(name, unwrap);
  }

  /** Connect, and stay connected until `close()` or a refusal for good. */
  start() {
    globalThis.addEventListener?.("online", this.#online);
    globalThis.addEventListener?.("pagehide", this.#resume.saveNow);
    this.#retry.reset();
    this.#open();
  }

  /** Leave. Open calls are rejected; `start()` comes back to the same position. */
  close() {
    globalThis.removeEventListener?.("online", this.#online);
    globalThis.removeEventListener?.("pagehide", this.#resume.saveNow);
    this.#drop("closed by the page");
    this.#shut(1000, "closed by the page");
  }

  /** Do not wait for the next try. */
  reconnectNow() {
    if (this.#state.name === "waiting" || this.#state.name === "closed") this.start();
  }

  /**
   * Call one operation of the gateway (`task.create`, `task.get`, …).
   *
   * Nothing is queued and nothing is repeated: a call without an answer may have taken place, and
   * only the caller knows whether asking twice is harmless (`idempotency_key`).
   *
   * Rejects with CallError (the gateway refused it) or NoAnswer.
   */
  call(method, params = {}, { timeout_ms: timeoutMs = this.#options.call_timeout_ms } = {}) {
    return new Promise((resolve, reject) => {
      if (this.#state.name !== "live" && this.#state.name !== "replaying") {
        reject(new NoAnswer(method, "not connected"));
        return;
      }
      const done = (error, result) => (error ? reject(error) : resolve(result));
      this.#connection.send(method, params, timeoutMs, done);
    });
  }

  /** Add topics: live from now on, and in every later connection. */
  async subscribe(topics) {
    const result = await this.call("subscribe", { topics });
    this.#topics = [...new Set([...this.#topics, ...topics])];
    return result;
  }

  /** Take topics away, now and in every later connection. */
  async unsubscribe(topics) {
    this.#topics = this.#topics.filter((topic) => !topics.includes(topic));
    return this.call("unsubscribe", { topics });
  }

  // ------------------------------------------------------------------ coming and going

  #online = () => this.#state.name === "waiting" && this.#open();

  #open() {
    this.#drop("opening again");
    this.#enter({ name: "connecting", failures: this.#retry.failures });
    this.#connection = new Connection(this.#url, this.#options, {
      session: (session) => this.#greeted(session),
      subscription: () => this.#subscription(),
      subscribed: (params, result) => this.#subscribed(params, result),
      refused: (error) => this.#refused(error),
      event: (event) => this.#resume.event(event),
      notice: (method, params) => this.#notice(method, params),
      quiet: (quiet) => this.#quiet(quiet),
      ended: (code, reason) => this.#ended(code, reason),
    });
    this.#connection.open();
  }

  /** Let go of the connection; what still arrives on it reaches no listener. */
  #drop(why) {
    clearTimeout(this.#retryTimer);
    this.#connection?.close(why);
    this.#connection = null;
    this.#resume.cut();
    this.#degraded(null); // the next gateway may be well
  }

  #ended(code, reason) {
    this.#drop("the connection was cut");
    if (isClosedForGood(code)) this.#shut(code, reason || "refused by the gateway");
    else this.#wait(this.#retry.afterCut(code), code, reason);
  }

  #refused(error) {
    this.#drop("refused");
    if (isRefusedForGood(error)) this.#shut(null, error.data.code || error.message, error);
    else this.#wait(this.#retry.afterRefusal(error), null, error.message);
  }

  #shut(code, reason, error = null) {
    this.#enter({ name: "closed", code, reason, error });
  }

  #wait(waitMs, code, reason) {
    this.#enter({ name: "waiting", next_try_at: Date.now() + waitMs, code, reason });
    this.#retryTimer = setTimeout(() => this.#open(), waitMs);
  }

  // ------------------------------------------------------------------ what a connection tells

  #greeted(session) {
    this.#session = session;
    this.#setClock(session.server_time);
    this.#emit("session", session);
  }

  #subscription() {
    const { topics } = this.#options;
    const chosen = typeof topics === "function" ? topics(this.#session) : topics;
    return { topics: [...new Set([...chosen, ...this.#topics])], ...this.#resume.request() };
  }

  #subscribed(params, result) {
    this.#retry.live();
    this.#resume.subscribed(params, result);
  }

  #notice(method, params) {
    switch (method) {
      case "heartbeat":
        this.#setClock(params.server_time);
        this.#degraded(params.degradation ?? null);
        // Answered on arrival and not by a timer: browsers hold back the timers of hidden pages.
        this.#connection?.ping();
        this.#resume.heartbeat(params.offset);
        break;
      case "gap":
        this.#resume.gap(params);
        break;
      case "drain": {
        const waitMs = Date.parse(params.reconnect_at) - this.serverNow();
        if (Number.isNaN(waitMs)) break;
        this.#retry.drain = { at_ms: Date.now() + waitMs, reason: params.reason ?? null };
        if (this.#state.name === "live") this.#enterLive();
        break;
      }
      default: // a later gateway may have more to say
    }
  }

  #quiet(quiet) {
    const { name, quiet: before } = this.#state;
    if (name === "live" && before !== quiet) this.#enter({ ...this.#state, quiet });
  }

  #degraded(degradation) {
    // Each degradation that is told is an object of its own; only null is the same twice.
    if (degradation === this.#degradation) return;
    this.#degradation = degradation;
    this.#emit("degradation", degradation);
  }

  #setClock(serverTime) {
    const atMs = Date.parse(serverTime);
    if (!Number.isNaN(atMs)) this.#aheadMs = atMs - performance.now();
  }

  #enterLive() {
    this.#enter({ name: "live", quiet: false, drain: this.#retry.drain });
  }

  #enter(state) {
    this.#state = Object.freeze(state);
    this.#emit("state", this.#state);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
