/** What a frontend may choose for its client, and what the client does by itself. */

/**
 * The options of a client. Those of DEFAULTS belong to them.
 *
 * @typedef {object} Options
 * @property {string[] | function(object): string[]} [topics] what to subscribe to. A function gets
 *   the session and is called after each connect. Default: `topicsOf`.
 * @property {string | function(): (string | Promise<string>)} [token] A function is asked at every
 *   connect, so that a renewed token is used. The token never goes into the URL.
 * @property {boolean} [bearer_subprotocol] send the token with the handshake as well, as
 *   subprotocol `bearer.<token>`, for proxies that check it there.
 * @property {string} [user_id] the user to play on a gateway without a secret.
 * @property {string} [client] name and version of the frontend, for the gateway's log.
 * @property {Storage} [storage] keeps the position over a reload, as sessionStorage does.
 * @property {string} [storage_key] one per user and gateway.
 */

/** The options that are numbers; the unit stands at the end of each name. */
export const DEFAULTS = Object.freeze({
  backoff_base_ms: 500, // the first wait after a cut is somewhere in 0 … 500 ms
  backoff_max_ms: 30_000,
  stable_after_ms: 5_000, // live for this long: the next cut starts with the short wait again
  open_timeout_ms: 15_000, // from the opening of the socket until the subscription is answered
  call_timeout_ms: 10_000,
  drain_wait_max_ms: 120_000, // a gateway that names a later moment is not believed
  heartbeat_interval_s: 25, // until the gateway has told its own
});

/** All that a session may see: everything for an operator, a user's own events for a user. */
export function topicsOf({ user_id: userId, scopes = [] }) {
  const isOperator = !userId || scopes.includes("admin");
  return isOperator ? ["*"] : [`user:${userId}`];
}

/** Complete the options that a frontend has given. */
export function completed(options) {
  return {
    ...DEFAULTS,
    client: "gateway-client/1",
    storage_key: "gateway.position",
    ...options,
    topics: options.topics ?? topicsOf,
  };
}
