/**
 * The entry of the browser client. A frontend imports this file alone; the other files of the
 * folder may change without notice.
 *
 * The client has two halves. `GatewayClient` keeps a connection and hands on each event once.
 * `reduce` and its companions fold those events into a state. Neither needs the other.
 *
 * Names in this code are camelCase. Fields of data are snake_case as on the wire: those of
 * events and states, and those of options and of what the listeners are told.
 *
 * A `GatewayClient` tells its listeners, through `on(name, listener)`:
 *   state     {name: "connecting" | "replaying" | "live" | "waiting" | "closed", …}
 *             replaying has {expected, received}; live has {quiet, drain}; waiting has
 *             {next_try_at (ms, this computer's clock), code, reason}; closed has
 *             {code, reason, error}
 *   session   the result of `connect`
 *   snapshot  {snapshot, epoch, offset, epoch_changed, first}: replaces the state held so far
 *   event     one event, as sent by the gateway
 *   degradation  the fields of the `graceful_degradation` to come, while the gateway's store is
 *             away and no event can tell it; null when that is over or not known any more
 *   missed    after a reconnect or a gap: {complete: true, caught_up: 17}, nothing is missing; or
 *             {complete: false, reason: "history_gone" | "epoch_changed" | "gap"}, and a snapshot
 */

export { backoff } from "./backoff.js";
export { GatewayClient } from "./client.js";
export { CallError, NoAnswer, SUBPROTOCOL } from "./codes.js";
export { ENDED, LIMITS } from "./limits.js";
export { DEFAULTS, topicsOf } from "./options.js";
export {
  addHistory,
  emptyState,
  fromSnapshot,
  reduce,
  reduceAll,
  withAgents,
  withDegradation,
  withTasks,
  withoutTask,
} from "./reducer.js";
