/** What the page says: statuses, actions and times in the words of the people who read it. */

/** status → [words, icon, tone]; the tone is a class, and never the only sign. */
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

export const BREAKER_STATE = {
  closed: ["Closed: calls go through", "check", "good"],
  open: ["Open: calls are held back", "stop", "bad"],
  half_open: ["Trying a few calls", "retry", "warn"],
};

/** Of a worker. */
export const AGENT_STATUS = {
  healthy: ["Healthy", "check", "good"],
  suspect: ["Silent for a moment", "question", "warn"],
  unhealthy: ["Not answering", "warning", "warn"],
  quarantined: ["Taken out of service", "stop", "bad"],
  offline: ["Offline", "cross", "bad"],
};

export const SEVERITY = {
  info: ["Info", "info", "calm"],
  warning: ["Warning", "warning", "warn"],
  error: ["Error", "cross", "bad"],
  critical: ["Critical", "stop", "bad"],
};

export const MODE = {
  degraded: "Working with reduced features",
  read_only: "Reading only: no new requests for now",
  draining: "Shutting down: running tasks are brought to an end",
};

export function lookup(table, name) {
  return Object.hasOwn(table, name) ? table[name] : [String(name ?? "unknown").replaceAll("_", " "), "question", "calm"];
}

/** What to do now, in a few words; the sentence for the user stands before them. "" when it says all. */
export function action_words({ suggested_action, will_retry, estimate, error_id }) {
  const soon = estimate > 0 ? ` in about ${duration(estimate)}` : "";
  switch (suggested_action) {
    case "wait":
      return will_retry ? "Nothing for you to do" : `Please wait, then try again${soon}`;
    case "retry":
      return will_retry ? "Nothing for you to do" : "You can try again now";
    case "retry_later":
      return will_retry ? "Nothing for you to do" : `Try again later${soon && `,${soon}`}`;
    case "shorten_input":
      return "Shorten your text, then ask again";
    case "sign_in_again":
      return "Sign in again, then ask again";
    case "contact_support":
      return `Contact support${error_id ? ` and mention ${short_id(error_id)}` : ""}`;
    default:
      return "";
  }
}

/** Who makes the next try, where it is not the agent itself. */
export const STRATEGY = new Map([
  ["fallback", "the stand-in"],
  ["reassignment", "another worker"],
  ["reconnect", "the connection"],
]);

export const END_REASON = new Map([
  ["caller_deadline", "It took longer than you wanted to wait."],
  ["no_worker", "Nobody was there to do it."],
  ["retry_budget", "Too many retries were under way; it was not tried again."],
  ["shutdown", "The gateway was shut down."],
]);

/** Why a call was refused. The rejection itself is also an event, with words for the user. */
export function refusal_words(error) {
  if (error.name === "NoAnswer") return `No answer (${error.message}). If it was accepted, it appears in the list.`;
  const wait = error.data?.retry_after > 0 ? ` Try again in about ${duration(error.data.retry_after)}.` : "";
  return `${error.data?.user_message ?? sentence(error.message)}${wait}`;
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

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

export function clock(timestamp) {
  const at = new Date(timestamp);
  return Number.isNaN(at.getTime()) ? "" : CLOCK.format(at);
}

export function count(many, one, several = `${one}s`) {
  return `${many} ${many === 1 ? one : several}`;
}

/** The end of an id tells two apart better than the beginning, which is the time. */
export function short_id(id) {
  return id.length > 12 ? `…${id.slice(-8)}` : id;
}

export function sentence(text) {
  const given = String(text ?? "").trim();
  if (!given) return "";
  return given[0].toUpperCase() + given.slice(1) + (/[.!?]$/.test(given) ? "" : ".");
}

export function bytes(many) {
  if (many < 1024) return `${many} B`;
  if (many < 1024 * 1024) return `${(many / 1024).toFixed(1)} KiB`;
  return `${(many / 1024 / 1024).toFixed(1)} MiB`;
}
