/** What the client offers to a page: the connection, and the fold from events to a state. */

export { CallError, DEFAULTS, GatewayClient, NoAnswer, SUBPROTOCOL, backoff, topics_of } from "./client.js";
export { ENDED, LIMITS } from "./limits.js";
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
