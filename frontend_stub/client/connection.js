/**
 * One connection to a gateway, from its opening to its end: the socket, the handshake, the frames
 * and the watch for a line that went silent.
 *
 * A connection is used once. After `close` it tells its owner nothing, whatever still arrives.
 */

import { Calls } from "./calls.js";
import { CallError, SUBPROTOCOL } from "./codes.js";

/** Close code of a connection that ended without one (RFC 6455, section 7.1.5). */
const NO_CODE = 1006;
/** Silence in heartbeat intervals: when the client asks the gateway, and when it gives up. */
const ASK_AFTER = 1.25;
const CUT_AFTER = 2;
const LOOK_AT_LEAST_MS = 100;

/**
 * What a connection tells its owner.
 *
 * @typedef {object} Owner
 * @property {function(object): void} session the result of `connect`
 * @property {function(): object} subscription the parameters of `subscribe`
 * @property {function(object, object): void} subscribed those parameters, and the result
 * @property {function(Error): void} refused `connect` or `subscribe` was answered with an error
 * @property {function(object): void} event one event
 * @property {function(string, object): void} notice method and parameters of a notification
 * @property {function(boolean): void} quiet whether the line has been silent for too long
 * @property {function(number, string): void} ended close code and reason
 */

/** One connection; see the head of this file. */
export class Connection {
  #url;
  #options;
  #owner;
  #socket = null;
  #isClosed = false;
  #calls = new Calls((text) => this.#socket.send(text));
  #openTimer = null;
  #watchTimer = null;
  #heardAt = { wall_ms: 0, even_ms: 0 };
  #isProbed = false; // the gateway was asked for a sign of life and has not given one yet

  /** @param {Owner} owner */
  constructor(url, options, owner) {
    this.#url = url;
    this.#options = options;
    this.#owner = owner;
  }

  /** Open the socket and shake hands; what comes of it is told to the owner. */
  async open() {
    const { token, bearer_subprotocol: asSubprotocol } = this.#options;
    let secret = null;
    let socket;
    // From the very beginning: where a token comes from may never answer, after a computer's sleep.
    this.#openTimer = setTimeout(() => {
      this.#end(NO_CODE, "no answer from the gateway", "no answer");
    }, this.#options.open_timeout_ms);
    try {
      secret = (typeof token === "function" ? await token() : token) || null;
      if (this.#isClosed) return;
      const protocols = [SUBPROTOCOL];
      if (secret && asSubprotocol) protocols.push(`bearer.${secret}`);
      socket = new WebSocket(this.#url, protocols);
    } catch (error) {
      if (!this.#isClosed) this.#end(NO_CODE, error.message);
      return;
    }
    this.#socket = socket;
    socket.onopen = () => this.#connect(secret);
    socket.onmessage = (message) => this.#receive(message.data);
    socket.onclose = ({ code, reason }) => this.#end(code, reason);
  }

  /** Let go of the socket and reject what is open. */
  close(why) {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#openTimer);
    clearTimeout(this.#watchTimer);
    const socket = this.#socket;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
    this.#calls.giveUp(why);
  }

  /** Send a request; `done(error, result)` is called once. */
  send(method, params, timeoutMs, done) {
    this.#calls.send(method, params, timeoutMs, done);
  }

  /** Send a ping. Its answer needs no handler: any frame is a sign of life. */
  ping() {
    this.send("ping", {}, this.#options.call_timeout_ms, () => {});
  }

  #end(code, reason, why = "the connection was cut") {
    this.close(why);
    this.#owner.ended(code, reason);
  }

  #connect(secret) {
    const params = { client: this.#options.client };
    if (secret) params.token = secret;
    else if (this.#options.user_id) params.user_id = this.#options.user_id;
    this.#shake("connect", params, (session) => {
      this.#owner.session(session);
      if (!this.#isClosed) this.#subscribe(session);
    });
  }

  #subscribe({ heartbeat_interval: intervalS }) {
    const params = this.#owner.subscription();
    this.#shake("subscribe", params, (result) => {
      clearTimeout(this.#openTimer);
      this.#watch(1000 * (intervalS ?? this.#options.heartbeat_interval_s));
      this.#owner.subscribed(params, result);
    });
  }

  #shake(method, params, goOn) {
    this.send(method, params, this.#options.open_timeout_ms, (error, result) => {
      if (!error) goOn(result);
      // Without an answer the connection has ended, and its end is told to the owner.
      else if (error instanceof CallError) this.#owner.refused(error);
    });
  }

  #receive(text) {
    this.#hear();
    this.#isProbed = false;
    this.#owner.quiet(false);
    if (this.#isClosed) return; // by a listener, in this very turn
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return; // a frame that cannot be read; an event that is missing shows at the next heartbeat
    }
    if (frame === null || typeof frame !== "object") return;
    if (frame.jsonrpc === undefined) {
      if (typeof frame.type === "string") this.#owner.event(frame);
    } else if (frame.method !== undefined) {
      this.#owner.notice(frame.method, frame.params ?? {});
    } else {
      this.#calls.answer(frame);
    }
  }

  #hear() {
    this.#heardAt = { wall_ms: Date.now(), even_ms: performance.now() };
  }

  /** The longer of two times: one clock may stand still while a computer sleeps, one may be set. */
  #quietMs() {
    const { wall_ms: wallMs, even_ms: evenMs } = this.#heardAt;
    return Math.max(Date.now() - wallMs, performance.now() - evenMs);
  }

  /** Ask when the line is silent for longer than a heartbeat; end it when two have been missed. */
  #watch(intervalMs) {
    this.#hear();
    this.#isProbed = false;
    const look = () => {
      this.#watchTimer = setTimeout(look, Math.max(intervalMs / 4, LOOK_AT_LEAST_MS));
      const quietMs = this.#quietMs();
      if (quietMs > CUT_AFTER * intervalMs && this.#isProbed) {
        this.#end(NO_CODE, "no sign of life from the gateway", "no sign of life");
      } else if (quietMs > ASK_AFTER * intervalMs && !this.#isProbed) {
        // After a computer's sleep the clock has moved and the line may be fine: ask first.
        this.#isProbed = true;
        this.#owner.quiet(true);
        this.ping();
      }
    };
    this.#watchTimer = setTimeout(look, Math.max(intervalMs / 4, LOOK_AT_LEAST_MS));
  }
}
