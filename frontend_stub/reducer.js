/** The fold at its old address. New code imports `client/gateway-client.js`. */

export {
  ENDED,
  LIMITS,
  addHistory,
  emptyState,
  fromSnapshot,
  reduce,
  reduceAll,
  withAgents,
  withDegradation,
  withTasks,
  withoutTask,
} from "./client/gateway-client.js";
