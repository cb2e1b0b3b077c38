/** What each event about a task changes in a state. */

import {
  appended,
  failureOf,
  lengthOf,
  preservedOf,
  reportFailure,
  waitOf,
} from "./records.js";

/** Event type → function(draft, event). */
export const TASK_CHANGES = {
  task_submitted(draft, event) {
    draft.task(event, {
      status: "pending",
      submitted_at: event.timestamp,
      priority: event.priority ?? null,
      max_attempts: event.max_attempts ?? null,
      retry_of: event.retry_of ?? null,
    });
  },

  task_started(draft, event) {
    const task = draft.task(event);
    if (!task) return;
    const mode = event.mode ?? "primary";
    const attempt = event.attempt ?? task.attempt + 1;
    const started = {
      attempt,
      mode,
      status: "running",
      served_by: event.served_by ?? null,
      limit: event.limit ?? null,
      started_at: event.timestamp,
      ended_at: null,
      error: null,
    };
    const before = task.attempts.map((one) =>
      one.status === "running" ? { ...one, status: "failed", ended_at: event.timestamp } : one,
    );
    draft.task(event, {
      status: "running",
      attempt,
      agent_id: event.agent_id ?? null,
      max_attempts: event.max_attempts ?? task.max_attempts,
      next: null,
      waiting: null,
      fallback: mode === "fallback",
      attempts: draft.bounded("attempts", [
        ...before.filter((one) => one.attempt !== attempt || one.mode !== mode || one.error),
        started,
      ]),
    });
  },

  task_progress(draft, event) {
    const task = draft.task(event);
    if (!task) return;
    draft.task(event, {
      progress: event.progress ?? task.progress,
      step: event.step ?? task.step,
      waiting: null,
    });
  },

  task_waiting(draft, event) {
    draft.task(event, { waiting: waitOf(event) });
  },

  partial_result(draft, event) {
    const task = draft.task(event);
    if (!task) return;
    const change = { waiting: null };
    if (typeof event.text === "string") {
      const run = { attempt: event.attempt ?? task.attempt, fallback: task.fallback };
      // An attempt that started over: what was shown before is void.
      const before = event.replaces === true ? { text: [], text_dropped: 0 } : task;
      Object.assign(change, appended(before, run, event.text));
    }
    if (event.step !== undefined && event.step !== null) {
      change.steps = draft.bounded("steps", [
        ...task.steps.filter((step) => step.name !== event.step),
        { name: event.step, attempt: event.attempt ?? task.attempt, data: event.data },
      ]);
    }
    draft.task(event, change);
  },

  partial_result_preserved(draft, event) {
    const task = draft.task(event);
    if (!task) return;
    const preserved = preservedOf(event);
    const change = { preserved, progress: event.progress ?? task.progress };
    // A page that joined in the middle has seen less than what is kept.
    if (preserved.text.length > lengthOf(task.text)) {
      const run = { attempt: event.attempt ?? task.attempt, fallback: false };
      Object.assign(change, appended({ text: [], text_dropped: 0 }, run, preserved.text));
    }
    draft.task(event, change);
  },

  agent_error(draft, event) {
    if (!event.task_id) reportFailure(draft, event);
    const task = draft.task(event);
    if (!task) return;
    // Something that the attempt has started failed; the attempt itself goes on.
    if (event.error_code === "background_failure") return;
    const error = failureOf(event);
    const at = task.attempts.findLastIndex((one) => one.attempt === event.attempt);
    const attempts = [...task.attempts];
    const ended = { status: "failed", ended_at: event.timestamp, error };
    if (at >= 0) attempts[at] = { ...attempts[at], ...ended };
    else if (event.attempt) attempts.push({ attempt: event.attempt, mode: "primary", ...ended });
    draft.task(event, {
      error,
      attempts: draft.bounded("attempts", attempts),
      max_attempts: event.max_attempts ?? task.max_attempts,
      status: event.will_retry ? "waiting" : task.status,
      waiting: null,
    });
  },

  recovery_attempt(draft, event) {
    draft.task(event, {
      status: "waiting",
      waiting: null,
      next: {
        at: event.next_attempt_at ?? null,
        attempt: event.attempt ?? null,
        strategy: event.strategy ?? null,
        delay: event.backoff_delay ?? null,
      },
    });
  },

  task_reassigned(draft, event) {
    draft.task(event, {
      status: "waiting",
      reassigned: {
        from: event.previous_agent_id ?? null,
        to: event.new_agent_id ?? null,
        reason: event.reason ?? null,
      },
    });
  },

  task_dead_lettered(draft, event) {
    draft.task(event, { dead_letter: event.reason ?? "attempts exhausted" });
  },

  resource_cleanup(draft, event) {
    draft.task(event, {
      cleanup: {
        cleaned: event.resources_cleaned ?? [],
        status: event.cleanup_status,
        memory_freed: event.memory_freed ?? null,
        leftovers: event.leftovers ?? [],
      },
    });
  },

  task_finished(draft, event) {
    const task = draft.task(event);
    if (event.error_id) draft.remove("failures", event.error_id);
    if (task?.error?.error_id) draft.remove("failures", task.error.error_id);
    if (!task) return;
    const succeeded = event.outcome === "succeeded";
    draft.task(event, {
      status: event.outcome,
      progress: succeeded ? 1 : task.progress,
      next: null,
      waiting: null,
      degraded: event.degraded ?? false,
      served_by: event.served_by ?? null,
      result: event.result,
      reason: event.reason ?? null,
      duration: event.duration ?? null,
      finished_at: event.timestamp,
      attempts: task.attempts.map((one) =>
        one.status === "running"
          ? { ...one, status: succeeded ? "succeeded" : "failed", ended_at: event.timestamp }
          : one,
      ),
    });
  },
};
