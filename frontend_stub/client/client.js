/**
 * One browser's connection to a gateway: it connects, subscribes, and after every cut it comes
 * back to exactly the event it had reached.
 *
 * The rule that stays true: events are handed on once, with growing offsets of one epoch. When
 * that cannot be kept (history no longer kept, the log recreated, a gap), the listener is told
 * (`missed`) and gets a `snapshot` in the place of what is missing.
 *
 * No dependencies, no build step. See README.md beside this file for its use.
 *
 * Emitted, through `on(name, listener)`:
 *   state     {name: "connecting" | "replaying" | "live" | "waiting" | "closed", …}
 *             replaying has {expected, received}; live has {quiet, drain}; waiting has
 *             {next_try_at (ms, this computer's clock), code, reason}; closed has {code, reason, error}
 *   session   the result of `connect`
 *   snapshot  {snapshot, epoch, offset, epoch_changed, first}: replaces the state held so far
 *   event     one event, as sent by the gateway
 *   degradation  while the gateway's store is away, when no event can tell it: the fields of the
 *             `graceful_degradation` to come; null when that is over, or not known any more
 *   missed    after a reconnect or a gap: {complete: true, caught_up: 17}, nothing is missing; or
 *             {complete: false, reason: "history_gone" | "epoch_changed" | "gap"}, see the snapshot
 */

/** Durations in milliseconds unless the name says otherwise. */
export const DEFAULTS = Object.freeze({
  backoff_base_ms: 500, // the first wait after a cut is somewhere in 0 … 500 ms
  backoff_max_ms: 30_000,
  stable_after_ms: 5_000, // live for this long: the next cut starts with the short wait again
  open_timeout_ms: 15_000, // from the first byte until the subscription is answered
  call_timeout_ms: 10_000,
  drain_wait_max_ms: 120_000, // no server is believed about a longer pause
  heartbeat_interval_s: 25, // until the gateway has told its own
  fruitless_resyncs_max: 3, // a heartbeat that stays ahead of us is then no longer trusted
});

export const SUBPROTOCOL = "agent-events.v1";

const CLOSED_FOR_GOOD = (code) => code >= 4500 && code <= 4999;
/** Too many connections, too many requests, try again later: never come back within two seconds. */
const CROWDED = new Set([1013, 4004, 4013]);
const CROWDED_WAIT_MS = 2_000;
/** Refusals of `connect` and `subscribe` that the same words would meet again. */
const REFUSED_FOR_GOOD = new Set([
  "unauthenticated", "invalid_token", "token_invalid", "not_permitted", "unauthorized", "forbidden",
]);

/** The gateway answered a call with an error. `code` is JSON-RPC's integer, `data.code` the word for it. */
export class CallError extends Error {
  constructor(method, { code, message, data }) {
    super(message || `${method} was refused`);
    this.name = "CallError";
    this.method = method;
    this.code = code;
    this.data = data ?? {};
  }
}

/** No answer came: not connected, cut before the answer, or too late. What was asked may have happened. */
export class NoAnswer extends Error {
  constructor(method, why) {
    super(`${method}: ${why}`);
    this.name = "NoAnswer";
    this.method = method;
  }
}

/**
 * How long to wait before the next try: "full jitter", so that the clients of a gateway that
 * restarts do not come back in step.
 */
export function backoff(failures, { base_ms, max_ms, random = Math.random }) {
  return random() * Math.min(max_ms, base_ms * 2 ** Math.min(failures, 16));
}

/** All that a session may see: everything for an operator, for others their own. */
export function topics_of({ user_id, scopes = [] }) {
  const everything = !user_id || scopes.includes("admin") || scopes.includes("events:read:all");
  return everything ? ["*"] : [`user:${user_id}`];
}

export class GatewayClient extends EventTarget {
  #url;
  #options;
  #topics = []; // added with subscribe(), beside those of options.topics
  #socket = null;
  #pending = new Map(); // id of a call → {method, done, timer}
  #next_id = 1;
  #state = { name: "closed", code: null, reason: "not started", error: null };
  #session = null;
  #epoch = null;
  #delivered = -1; // offset of the newest event handed on: what repeats are known by
  #covered = -1; // nothing up to here is missing, though it may have concerned others only
  #needs_snapshot = true; // whoever listens holds no state that a replay could continue
  #replay = null; // {expected, received, until} while catching up
  #failures = 0;
  #live_since_ms = null;
  #drain = null;
  #skew_ms = 0; // the gateway's clock minus ours
  #heard_at_ms = 0;
  #probed = false;
  #fruitless_resyncs = 0;
  #degradation = null;
  #timers = { retry: null, open: null, watch: null, save: null };

  /**
   * @param {string} url of the gateway's WebSocket, `ws://host/ws` or `wss://host/ws`.
   * @param {object} [options]
   * @param {string[] | function(object): string[]} [options.topics] what to subscribe to; a function
   *   is given the session and called after each connect. Default: all that the session may see.
   * @param {string | function(): (string | Promise<string>)} [options.token] a function is asked
   *   again at every connect, so that a renewed token is used. The token never goes into the URL.
   * @param {boolean} [options.bearer_subprotocol] send the token with the handshake as well, as
   *   subprotocol `bearer.<token>`, for proxies that check it there.
   * @param {string} [options.user_id] whom to play on a gateway without a secret.
   * @param {string} [options.client] name and version of this frontend, for the gateway's log.
   * @param {Storage} [options.storage] keeps the position over a reload (for example sessionStorage).
   * @param {string} [options.storage_key] one per user and gateway.
   */
  constructor(url, options = {}) {
    super();
    this.#url = String(url);
    this.#options = { ...DEFAULTS, client: "gateway-client/1", storage_key: "gateway.position", ...options };
    const kept = this.#load();
    if (kept) {
      this.#epoch = kept.epoch;
      this.#delivered = this.#covered = kept.offset;
    }
  }

  get state() {
    return this.#state;
  }

  get session() {
    return this.#session;
  }

  /** Where a new connection would continue: {epoch, offset}, or null before the first subscription. */
  get position() {
    if (this.#epoch === null) return null;
    return { epoch: this.#epoch, offset: Math.max(this.#delivered, this.#covered) };
  }

  /** The gateway's clock, in ms; for countdowns to the times that events name. */
  server_now() {
    return Date.now() + this.#skew_ms;
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
    globalThis.addEventListener?.("pagehide", this.#save_now);
    this.#failures = 0;
    this.#open();
  }

  /** Leave. Open calls are rejected; `start()` comes back to the same position. */
  close() {
    globalThis.removeEventListener?.("online", this.#online);
    globalThis.removeEventListener?.("pagehide", this.#save_now);
    this.#drop("closed by the page");
    this.#enter({ name: "closed", code: 1000, reason: "closed by the page", error: null });
  }

  /** Do not wait for the next try. */
  reconnect_now() {
    if (this.#state.name === "waiting" || this.#state.name === "closed") this.start();
  }

  /**
   * Call one operation of the gateway (`task.create`, `task.get`, …).
   *
   * Nothing is queued and nothing is repeated: a call without an answer may have taken place, and
   * only the caller knows whether asking twice is harmless (`idempotency_key`).
   *
   * Rejects with CallError (the gateway said no) or NoAnswer.
   */
  call(method, params = {}, { timeout_ms = this.#options.call_timeout_ms } = {}) {
    return new Promise((resolve, reject) => {
      if (this.#state.name !== "live" && this.#state.name !== "replaying") {
        reject(new NoAnswer(method, "not connected"));
        return;
      }
      this.#send(method, params, timeout_ms, (error, result) => (error ? reject(error) : resolve(result)));
    });
  }

  /** Add topics, live from now on, and in every later connection. */
  async subscribe(topics) {
    const result = await this.call("subscribe", { topics });
    this.#topics = [...new Set([...this.#topics, ...topics])];
    return result;
  }

  async unsubscribe(topics) {
    this.#topics = this.#topics.filter((topic) => !topics.includes(topic));
    return this.call("unsubscribe", { topics });
  }

  // ------------------------------------------------------------------ coming and going

  #online = () => this.#state.name === "waiting" && this.#open();

  async #open() {
    this.#drop("opening again");
    this.#enter({ name: "connecting", failures: this.#failures });
    const { token, bearer_subprotocol } = this.#options;
    const mine = (this.#socket = {}); // a stand-in, so that a later #open() or close() is noticed
    let secret = null;
    let socket;
    try {
      secret = (typeof token === "function" ? await token() : token) || null;
      if (this.#socket !== mine) return;
      const protocols = [SUBPROTOCOL];
      if (secret && bearer_subprotocol) protocols.push(`bearer.${secret}`);
      socket = new WebSocket(this.#url, protocols);
    } catch (error) {
      if (this.#socket === mine) this.#gone(1006, error.message);
      return;
    }
    this.#socket = socket;
    socket.onopen = () => this.#connect(secret);
    socket.onmessage = (message) => this.#receive(message.data);
    socket.onclose = ({ code, reason }) => this.#gone(code, reason);
    this.#timers.open = setTimeout(() => {
      this.#drop("no answer");
      this.#gone(1006, "no answer from the gateway");
    }, this.#options.open_timeout_ms);
  }

  /** Let go of the socket without a word to the listeners; its late messages reach nobody. */
  #drop(why) {
    for (const timer of ["retry", "open", "watch"]) {
      clearTimeout(this.#timers[timer]);
      this.#timers[timer] = null;
    }
    const socket = this.#socket;
    this.#socket = null;
    if (socket instanceof WebSocket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    this.#replay = null;
    this.#degraded(null);
    for (const { method, done, timer } of [...this.#pending.values()]) {
      clearTimeout(timer);
      done(new NoAnswer(method, why));
    }
    this.#pending.clear();
  }

  #gone(code, reason) {
    const was_live_for_ms = this.#live_since_ms === null ? 0 : Date.now() - this.#live_since_ms;
    this.#live_since_ms = null;
    this.#drop("the connection was cut");
    if (CLOSED_FOR_GOOD(code)) {
      this.#enter({ name: "closed", code, reason: reason || "refused by the gateway", error: null });
      return;
    }
    if (was_live_for_ms >= this.#options.stable_after_ms) this.#failures = 0;
    let wait_ms = backoff(this.#failures, {
      base_ms: this.#options.backoff_base_ms,
      max_ms: this.#options.backoff_max_ms,
    });
    this.#failures += 1;
    if (CROWDED.has(code)) wait_ms += CROWDED_WAIT_MS;
    if (this.#drain) {
      // The gateway staggers its clients itself; our own chance would only blur that.
      const asked_ms = this.#drain.at_ms - Date.now();
      wait_ms = Math.min(Math.max(asked_ms, 0), this.#options.drain_wait_max_ms);
      this.#drain = null;
    }
    this.#wait(wait_ms, code, reason);
  }

  #wait(wait_ms, code, reason) {
    this.#enter({ name: "waiting", next_try_at: Date.now() + wait_ms, code, reason });
    this.#timers.retry = setTimeout(() => this.#open(), wait_ms);
  }

  /** The stream cannot be trusted as it is: come back at once, from the position reached. */
  #resync({ needs_snapshot }) {
    this.#needs_snapshot ||= needs_snapshot;
    this.#open();
  }

  // ------------------------------------------------------------------ the handshake

  #connect(secret) {
    const params = { client: this.#options.client };
    if (secret) params.token = secret;
    else if (this.#options.user_id) params.user_id = this.#options.user_id;
    this.#send("connect", params, this.#options.open_timeout_ms, (error, session) => {
      if (error) return this.#refused(error);
      this.#session = session;
      this.#set_clock(session.server_time);
      this.#emit("session", session);
      this.#subscribe();
    });
  }

  #subscribe() {
    const { topics = topics_of } = this.#options;
    const chosen = typeof topics === "function" ? topics(this.#session) : topics;
    const since = this.position;
    const params = { topics: [...new Set([...chosen, ...this.#topics])], snapshot: this.#needs_snapshot };
    if (since) params.since = since;
    this.#send("subscribe", params, this.#options.open_timeout_ms, (error, result) => {
      if (error) return this.#refused(error);
      this.#subscribed(since, result);
    });
  }

  #refused(error) {
    if (!(error instanceof CallError)) return; // the connection went; its end is dealt with there
    const asked_wrongly = error.code <= -32600 && error.code >= -32602;
    if (asked_wrongly || REFUSED_FOR_GOOD.has(error.data.code)) {
      this.#drop("refused");
      this.#enter({ name: "closed", code: null, reason: error.data.code || error.message, error });
      return;
    }
    this.#drop("refused for now");
    this.#failures += 1;
    const asked_ms = Number(error.data.retry_after ?? 0) * 1000;
    const wait_ms = backoff(this.#failures, {
      base_ms: this.#options.backoff_base_ms,
      max_ms: this.#options.backoff_max_ms,
    });
    this.#wait(Math.min(asked_ms, this.#options.backoff_max_ms) + wait_ms, null, error.message);
  }

  #subscribed(since, result) {
    clearTimeout(this.#timers.open);
    const resumed = since !== null && result.recovered !== false;
    const epoch_changed = since !== null && since.epoch !== result.epoch;
    const first = since === null;
    if (!resumed) {
      this.#epoch = result.epoch;
      this.#delivered = this.#covered = result.offset;
    }
    this.#live_since_ms = Date.now();
    this.#drain = null;
    this.#needs_snapshot = false;
    if (result.snapshot) {
      const { snapshot, epoch, offset } = result;
      this.#emit("snapshot", { snapshot, epoch, offset, epoch_changed, first });
    }
    this.#watch();
    if (resumed) {
      this.#replay = { expected: result.replayed ?? 0, received: 0, until: result.offset };
      if (this.#replay.expected > 0 && this.#delivered < result.offset) {
        this.#enter({ name: "replaying", expected: this.#replay.expected, received: 0 });
      } else {
        this.#caught_up();
      }
      return;
    }
    if (since !== null) {
      this.#emit("missed", { complete: false, reason: epoch_changed ? "epoch_changed" : "history_gone" });
    }
    this.#enter_live();
    this.#save();
  }

  #caught_up() {
    const { received, until } = this.#replay;
    this.#replay = null;
    this.#covered = Math.max(this.#covered, until);
    this.#emit("missed", { complete: true, caught_up: received });
    this.#enter_live();
    this.#save();
  }

  #enter_live() {
    this.#enter({ name: "live", quiet: false, drain: this.#drain });
  }

  // ------------------------------------------------------------------ frames

  #send(method, params, timeout_ms, done) {
    const id = this.#next_id++;
    const timer = setTimeout(() => {
      this.#pending.delete(id);
      done(new NoAnswer(method, `no answer within ${timeout_ms / 1000} s`));
    }, timeout_ms);
    this.#pending.set(id, { method, done, timer });
    this.#socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
  }

  #receive(text) {
    this.#heard_at_ms = Date.now();
    this.#probed = false;
    if (this.#state.quiet) this.#enter({ ...this.#state, quiet: false });
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return; // not ours to repair; a missing event shows at the next heartbeat
    }
    if (frame === null || typeof frame !== "object") return;
    if (frame.jsonrpc === undefined) {
      if (typeof frame.type === "string") this.#event(frame);
    } else if (frame.method !== undefined) {
      this.#notice(frame.method, frame.params ?? {});
    } else {
      const call = this.#pending.get(frame.id);
      if (call === undefined) return;
      this.#pending.delete(frame.id);
      clearTimeout(call.timer);
      // Answered in this very turn: the events that follow the answer must find it dealt with.
      if (frame.error) call.done(new CallError(call.method, frame.error));
      else call.done(null, frame.result);
    }
  }

  #event(event) {
    if (this.#epoch === null) return;
    if (event.epoch !== this.#epoch) {
      this.#resync({ needs_snapshot: true });
      return;
    }
    if (!(event.offset > this.#delivered)) return; // a repeat
    this.#delivered = event.offset;
    this.#save();
    const replay = this.#replay;
    if (replay && event.offset > replay.until) this.#caught_up(); // the count was higher than what came
    this.#emit("event", event);
    if (this.#replay === null) return;
    replay.received += 1;
    if (replay.received >= replay.expected || event.offset === replay.until) this.#caught_up();
    else this.#enter({ name: "replaying", expected: replay.expected, received: replay.received });
  }

  #notice(method, params) {
    switch (method) {
      case "heartbeat":
        this.#set_clock(params.server_time);
        this.#degraded(params.degradation ?? null);
        // An answer on arrival, not by a timer: a hidden page's timers are held back by the browser.
        this.#send("ping", {}, this.#options.call_timeout_ms, () => {});
        this.#compare(params.offset);
        break;
      case "gap":
        this.#emit("missed", { complete: false, reason: "gap", from: params.from, to: params.to });
        this.#resync({ needs_snapshot: true });
        break;
      case "drain": {
        const at_ms = Date.parse(params.reconnect_at) - this.#skew_ms;
        if (Number.isNaN(at_ms)) break;
        this.#drain = { at_ms, reason: params.reason ?? null };
        if (this.#state.name === "live") this.#enter_live();
        break;
      }
      default: // a later gateway may have more to say
    }
  }

  #degraded(degradation) {
    if (degradation === this.#degradation) return; // null and null: each heartbeat makes a new object
    this.#degradation = degradation;
    this.#emit("degradation", degradation);
  }

  /** A heartbeat names the newest event of our subscription: ahead of us, we have missed something. */
  #compare(offset) {
    if (this.#replay) {
      if (offset <= this.#delivered) this.#caught_up(); // fewer events came than were announced
      return;
    }
    if (typeof offset !== "number" || offset <= this.position.offset) {
      this.#fruitless_resyncs = 0;
    } else if (this.#fruitless_resyncs < this.#options.fruitless_resyncs_max) {
      this.#fruitless_resyncs += 1;
      this.#resync({ needs_snapshot: false });
    }
  }

  /** Ask when it has been quiet for longer than a heartbeat; come anew when two have been missed. */
  #watch() {
    this.#heard_at_ms = Date.now();
    this.#probed = false;
    const interval_ms = 1000 * (this.#session.heartbeat_interval ?? this.#options.heartbeat_interval_s);
    const look = () => {
      this.#timers.watch = setTimeout(look, Math.max(interval_ms / 4, 100));
      const quiet_ms = Date.now() - this.#heard_at_ms;
      if (quiet_ms > 2 * interval_ms && this.#probed) {
        this.#drop("no sign of life");
        this.#gone(1006, "no sign of life from the gateway");
      } else if (quiet_ms > 1.25 * interval_ms && !this.#probed) {
        // Also the first look after a computer's sleep: the clock has moved, the line may be fine.
        this.#probed = true;
        if (this.#state.name === "live") this.#enter({ ...this.#state, quiet: true });
        this.#send("ping", {}, this.#options.call_timeout_ms, () => {});
      }
    };
    clearTimeout(this.#timers.watch);
    this.#timers.watch = setTimeout(look, Math.max(interval_ms / 4, 100));
  }

  // ------------------------------------------------------------------ small things

  #set_clock(server_time) {
    const at_ms = Date.parse(server_time);
    if (!Number.isNaN(at_ms)) this.#skew_ms = at_ms - Date.now();
  }

  #enter(state) {
    this.#state = Object.freeze(state);
    this.#emit("state", this.#state);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #load() {
    try {
      const kept = JSON.parse(this.#options.storage?.getItem(this.#options.storage_key) ?? "null");
      return typeof kept?.epoch === "string" && Number.isInteger(kept.offset) ? kept : null;
    } catch {
      return null; // storage refused or garbled: begin with a snapshot
    }
  }

  /** At most four writes a second; a position kept too old repeats history, one too new would lose some. */
  #save() {
    if (this.#options.storage && this.#timers.save === null) {
      this.#timers.save = setTimeout(this.#save_now, 250);
    }
  }

  #save_now = () => {
    clearTimeout(this.#timers.save);
    this.#timers.save = null;
    if (!this.#options.storage || this.#epoch === null) return;
    try {
      this.#options.storage.setItem(this.#options.storage_key, JSON.stringify(this.position));
    } catch {
      // Full or refused: a reload then begins with a snapshot.
    }
  };
}
