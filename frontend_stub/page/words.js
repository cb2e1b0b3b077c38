/** What the page says: statuses, actions and times in a user's words. */

/** Of a task: status → [words, icon, tone]. The tone is a class, and never the only sign. */
export const TASK_STATUS = {
  pending: ["Queued", "clock", "calm"],
  running: ["Working", "spinner", "busy"],
  waiting: ["Trying again soon", "retry", "warn"],
  succeeded: ["Done", "check", "good"],
  failed: ["Failed", "cross", "bad"],
  cancelled: ["Cancelled", "stop", "calm"],
  dead_lettered: ["Set aside", "archive", "bad"],
  lost: ["Lost", "question", "bad"],
  unknown: ["Looking it up", "question", "calm"],
};

/** Of a task that does not move, whatever its status. */
export const HELD_STATUS = ["Held back", "clock", "warn"];

/** Why a task does not move → [why, what comes at the time that is named]. */
export const WAITS = new Map([
  ["breaker", ["The agent is given a rest after several failures.", "Tried again"]],
  ["upstream", ["The service behind it has asked us to wait.", "Called again"]],
  ["worker", ["Nobody is there to do it at the moment.", "Given up"]],
  ["worker_contact", ["Its worker has fallen silent.", "Passed on"]],
  ["thread", ["Its last attempt has not come to its end yet.", "Tried again"]],
]);

/** Of a breaker. */
export const BREAKER_STATE = {
  closed: ["Closed: calls go through", "check", "good"],
  open: ["Open: calls are held back", "stop", "bad"],
  half_open: ["Trying a few calls", "retry", "warn"],
};

/** Of a failure domain: the same states, but it is slowed down and not stopped. */
export const DOMAIN_STATE = {
  closed: ["At full speed", "check", "good"],
  open: ["Slowed down: one task a second", "warning", "warn"],
  half_open: ["Trying whether it is well", "retry", "warn"],
};

/** Of a worker. */
export const AGENT_STATUS = {
  healthy: ["Healthy", "check", "good"],
  suspect: ["Silent for a moment", "question", "warn"],
  unhealthy: ["Not answering", "warning", "warn"],
  quarantined: ["Taken out of service", "stop", "bad"],
  offline: ["Offline", "cross", "bad"],
};

/** Of an event. */
export const SEVERITY = {
  info: ["Info", "info", "calm"],
  warning: ["Warning", "warning", "warn"],
  error: ["Error", "cross", "bad"],
  critical: ["Critical", "stop", "bad"],
};

/** Of the gateway's mode, in the bar. */
export const MODE_SHORT = {
  normal: ["Normal", "check", "good"],
  degraded: ["Degraded", "warning", "warn"],
  read_only: ["Read only", "stop", "warn"],
  draining: ["Draining", "retry", "warn"],
};

/** Mode of the gateway → words. */
export const MODE = {
  degraded: "Working with reduced features",
  read_only: "Reading only: no new requests for now",
  draining: "Shutting down: running tasks are brought to an end",
};

/** Find a name in one of the tables above; a name of a later gateway is shown as it is. */
export function lookup(table, name) {
  if (Object.hasOwn(table, name)) return table[name];
  return [String(name ?? "unknown").replaceAll("_", " "), "question", "calm"];
}

/** What a user can do about a failure, after its sentence for the user; "" when that says all. */
export function actionWords(failure) {
  const { suggested_action: action, will_retry: willRetry, estimate, error_id: errorId } = failure;
  const soon = estimate > 0 ? ` in about ${duration(estimate)}` : "";
  switch (action) {
    case "wait":
      return willRetry ? "Nothing for you to do" : `Please wait, then try again${soon}`;
    case "retry":
      return willRetry ? "Nothing for you to do" : "You can try again now";
    case "retry_later":
      return willRetry ? "Nothing for you to do" : `Try again later${soon && `,${soon}`}`;
    case "shorten_input":
      return "Shorten your text, then ask again";
    case "sign_in_again":
      return "Sign in again, then ask again";
    case "contact_support":
      return `Contact support${errorId ? ` and mention ${shortId(errorId)}` : ""}`;
    default:
      return "";
  }
}

/** What a user can do about what was reported without a task: there is nothing to try again. */
export function reportActionWords(failure) {
  const isTry = ["wait", "retry", "retry_later"].includes(failure.suggested_action);
  return isTry && !failure.will_retry ? "" : actionWords(failure);
}

/** What makes the next try, where it is not the agent itself. */
export const STRATEGY = new Map([
  ["fallback", "the stand-in"],
  ["reassignment", "another worker"],
  ["reconnect", "the connection"],
]);

/** Why a task ended, where no failure says it. */
export const END_REASON = new Map([
  ["caller_deadline", "It took longer than you wanted to wait."],
  ["no_worker", "Nobody was there to do it."],
  ["retry_budget", "Too many retries were under way; it was not tried again."],
  ["shutdown", "The gateway was shut down."],
]);

/** Why a task was given up, where each attempt's error does not say it. */
export const GIVEN_UP = new Map([
  ["attempts_exhausted", "No attempt was left."],
  ["no_worker", "Nobody was there to do it."],
  ["retry_budget", "Too many retries were under way."],
  ["fallback_failed", "The stand-in failed, too."],
]);

/** Why a worker is as it is. Those that are well have no need of words. */
export const WORKER_REASON = new Map([
  ["connection_lost", "Its connection was lost."],
  ["heartbeat_missed", "A heartbeat is late."],
  ["heartbeat_lost", "Its heartbeats have stopped."],
  ["loop_blocked", "Its event loop is blocked; its process still answers."],
  ["health", "Too many of its tasks fail or stand still."],
  ["goodbye", "It said goodbye."],
]);

/** Why no task is taken, by the code of the refusal. */
const REFUSED = new Map([
  ["circuit_breaker_open", "Its circuit breaker is open."],
  ["priority_load_shedding", "The queue is full."],
  ["degraded_mode", "In the degraded mode only more urgent tasks are taken."],
  ["read_only", "The gateway is read only and takes no new tasks."],
  ["draining", "The gateway is about to restart and takes no new tasks."],
]);

/** Why a call was refused. The rejection itself is also an event, with words for the user. */
export function refusalWords(error) {
  if (error.name === "NoAnswer") {
    return `No answer (${error.message}). If it was accepted, it appears in the list.`;
  }
  const waitS = error.data?.retry_after;
  const wait = waitS > 0 ? ` Try again in about ${duration(waitS)}.` : "";
  const known = error.data?.user_message ?? REFUSED.get(error.data?.code);
  return `${known ?? sentence(error.message)}${wait}`;
}

/** 0.4 → "0.4 s", 32 → "32 s", 125 → "2 min 5 s". */
export function duration(seconds) {
  if (seconds < 9.95) return `${Math.max(seconds, 0).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return whole % 60 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
}

/** How long ago something was, as a person says it: 40 → "under 1 min ago". */
export function ago(seconds) {
  if (seconds < 60) return "under 1 min ago";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} days ago`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hour12: false,
});

/** The time of day of a timestamp; "" when it is none. */
export function clock(timestamp) {
  const at = new Date(timestamp);
  return Number.isNaN(at.getTime()) ? "" : CLOCK.format(at);
}

/** `count(2, "event")` → "2 events". */
export function count(many, one, several = `${one}s`) {
  return `${many} ${many === 1 ? one : several}`;
}

/** The end of an id: it tells two apart better than the beginning, which is the time. */
export function shortId(id) {
  return id.length > 12 ? `…${id.slice(-8)}` : id;
}

/** A text as a sentence: a capital letter, and a full stop. */
export function sentence(text) {
  const given = String(text ?? "").trim();
  if (!given) return "";
  return given[0].toUpperCase() + given.slice(1) + (/[.!?]$/.test(given) ? "" : ".");
}

/** Data of an agent, as text. */
export function dataWords(data) {
  return typeof data === "string" ? data : (JSON.stringify(data, null, 2) ?? "");
}
