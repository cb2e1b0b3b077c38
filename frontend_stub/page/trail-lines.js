/** What each event means in the history of its task: a mark, a title, and what is known. */

import {
  END_REASON,
  HELD_STATUS,
  STRATEGY,
  TASK_STATUS,
  WAITS,
  clock,
  count,
  dataWords,
  duration,
  lookup,
  sentence,
} from "./words.js";

/** Too many to be read one by one, or of the gateway's own bookkeeping. */
const LEFT_OUT = new Set(["lease_changed", "lock_changed", "task_progress"]);

/**
 * Tell an event as a line: {shape, tone, title, said}; null: it is none. `workerOf(agentId)` says
 * what a worker is called.
 */
export function trailLine(event, workerOf) {
  if (LEFT_OUT.has(event.type)) return null;
  if (Object.hasOwn(LINES, event.type)) return LINES[event.type](event, workerOf);
  const title = sentence(event.type.replaceAll("_", " ")).slice(0, -1);
  return { shape: "info", tone: "calm", title, said: [event.user_message ?? event.message] };
}

/** Event type → its line. What is null or "" of `said` is left out. */
const LINES = {
  task_submitted({ user_id: user, priority, max_attempts: attempts, message, ...event }) {
    const limits = [
      priority !== undefined && priority !== null && `priority ${priority}`,
      attempts && `at most ${count(attempts, "attempt")}`,
      event.timeout && `within ${duration(event.timeout)}`,
    ];
    const title = user ? `Asked for by ${user}` : "Asked for";
    const cause = event.causation_id && `Caused by ${event.causation_id}.`;
    const kin = event.correlation_id && `Belongs to ${event.correlation_id}.`;
    const said = sentence(limits.filter(Boolean).join(", "));
    return { shape: "clock", tone: "calm", title, said: [said, cause, kin] };
  },

  task_waiting({ waits_for: what, until, similar }) {
    const [title, shape, tone] = HELD_STATUS;
    const [why, next] = WAITS.get(what) ?? [sentence(`It waits for ${what}`), "Goes on"];
    const when = until && `${next} at ${clock(until)}.`;
    const meant = similar?.length > 0 && `Did you mean ${similar.join(", ")}?`;
    return { shape, tone, title, said: [why, when, meant] };
  },

  task_started({ attempt, mode, served_by: by, agent_id: agentId, limit }, workerOf) {
    const who = mode === "fallback" ? `The stand-in${by ? ` (${by})` : ""} began` : null;
    const where = workerOf(agentId);
    const most = limit ? `It may take ${duration(limit)}.` : "";
    const title = who ?? `Attempt ${attempt ?? 1} began`;
    return { shape: "spinner", tone: "busy", title, said: [where && `On worker ${where}.`, most] };
  },

  partial_result({ step, data, replaces }) {
    if (replaces) {
      const said = ["The text so far is void; it begins anew."];
      return { shape: "retry", tone: "warn", title: "Text replaced", said };
    }
    if (!step) return null;
    return { shape: "check", tone: "calm", title: `Step done: ${step}`, said: [brief(data)] };
  },

  partial_result_preserved({ preserved_data: data, preserved_text: text, lost_data: lost }) {
    const kept = Object.keys(data ?? {});
    if (text) kept.push(`the text so far (${count(text.length, "character")})`);
    const missing = (lost ?? []).map((step) => dataWords(step));
    const title = kept.length > 0 ? `Kept: ${kept.join(", ")}` : "Nothing to keep";
    const said = [missing.length > 0 && `Lost: ${missing.join(", ")}.`];
    return { shape: "saved", tone: kept.length > 0 ? "good" : "calm", title, said };
  },

  agent_error({ attempt, user_message: words, message, will_retry: again }) {
    const title = attempt ? `Attempt ${attempt} failed` : "Failed";
    return { shape: "cross", tone: again ? "warn" : "bad", title, said: [words ?? message] };
  },

  recovery_attempt({ strategy, attempt, backoff_delay: delayS, next_attempt_at: at }) {
    const who = STRATEGY.get(strategy);
    const when = at ? `At ${clock(at)}, after a wait of ${duration(delayS ?? 0)}.` : "";
    const title = who ? `To be done by ${who}` : `To be tried again: attempt ${attempt ?? ""}`;
    return { shape: "retry", tone: "warn", title: title.trim(), said: [when] };
  },

  task_reassigned({ reason, user_message: words, ...moved }, workerOf) {
    const from = workerOf(moved.previous_agent_id) || "a worker";
    const to = moved.new_agent_id;
    const next = to ? workerOf(to) || "another" : "the next that is free";
    const said = [`From ${from} to ${next}.`, words];
    const why = reason ? `: ${reason.replaceAll("_", " ")}` : "";
    return { shape: "retry", tone: "warn", title: `Passed on${why}`, said };
  },

  circuit_breaker_test_request({ breaker, user_message: words }) {
    return { shape: "retry", tone: "warn", title: `Tests the breaker ${breaker}`, said: [words] };
  },

  system_recovered({ user_message: words, recovery_time: tookS }) {
    const took = tookS > 0 && `It took ${duration(tookS)}.`;
    return { shape: "check", tone: "good", title: "Recovered", said: [words, took] };
  },

  resource_cleanup({ resources_cleaned: cleaned, cleanup_status: status, leftovers }) {
    const names = (cleaned ?? []).join(", ").replaceAll("_", " ");
    const left = leftovers?.length > 0 && `Left over: ${leftovers.map(dataWords).join(", ")}.`;
    const title = status === "success" ? "Cleaned up" : `Clean-up: ${status}`;
    const tone = status === "success" ? "calm" : "warn";
    return { shape: "check", tone, title, said: [sentence(names), left] };
  },

  task_dead_lettered({ reason, attempts, user_message: words }) {
    const tried = typeof attempts === "number" && `After ${count(attempts, "attempt")}.`;
    const why = END_REASON.get(reason) ?? (reason && sentence(reason.replaceAll("_", " ")));
    return { shape: "archive", tone: "bad", title: "Set aside", said: [words, why, tried] };
  },

  task_finished({ outcome, reason, duration: tookS, served_by: by, degraded }) {
    const [title, shape, tone] = lookup(TASK_STATUS, outcome);
    const who = degraded && `A stand-in answered${by ? `: ${by}` : ""}.`;
    const took = typeof tookS === "number" && `It took ${duration(tookS)} in all.`;
    return { shape, tone, title, said: [END_REASON.get(reason), who, took] };
  },
};

const BRIEF_CHARS = 160;

function brief(data) {
  const words = data === undefined || data === null ? "" : dataWords(data).replace(/\s+/g, " ");
  return words.length > BRIEF_CHARS ? `${words.slice(0, BRIEF_CHARS)}…` : words;
}
