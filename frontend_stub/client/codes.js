/** What a gateway says by code: why a connection was closed, and why a call was refused. */

/** The WebSocket subprotocol that the client asks for. */
export const SUBPROTOCOL = "agent-events.v1";

/** After these close codes a new try is delayed: too many connections or requests, try later. */
const CROWDED = new Set([1013, 4004, 4013]);

/** Refusals of `connect` and `subscribe` that the same request would meet again. */
const REFUSED_FOR_GOOD = new Set([
  "unauthenticated",
  "invalid_token",
  "token_invalid",
  "not_permitted",
  "unauthorized",
  "forbidden",
]);

/** JSON-RPC's codes from "invalid request" to "invalid params": the request itself is wrong. */
const ASKED_WRONGLY = { lowest: -32602, highest: -32600 };

/** Tell whether a close code forbids the client to come back. */
export function isClosedForGood(code) {
  return code >= 4500 && code <= 4999;
}

/** Tell whether a close code says that the gateway has too many clients at the moment. */
export function isCrowded(code) {
  return CROWDED.has(code);
}

/** Tell whether the gateway would answer the same request with the same `CallError` again. */
export function isRefusedForGood({ code, data }) {
  const isAskedWrongly = code >= ASKED_WRONGLY.lowest && code <= ASKED_WRONGLY.highest;
  return isAskedWrongly || REFUSED_FOR_GOOD.has(data.code);
}

/**
 * The gateway answered a call with an error. `code` is the integer of JSON-RPC, `data.code` the
 * word for it.
 */
export class CallError extends Error {
  constructor(method, { code, message, data }) {
    super(message || `${method} was refused`);
    this.name = "CallError";
    this.method = method;
    this.code = code;
    this.data = data ?? {};
  }
}

/**
 * A call has no answer: the client was not connected, the connection was cut, or the time ran
 * out. The operation may have taken place all the same.
 */
export class NoAnswer extends Error {
  constructor(method, why) {
    super(`${method}: ${why}`);
    this.name = "NoAnswer";
    this.method = method;
  }
}
