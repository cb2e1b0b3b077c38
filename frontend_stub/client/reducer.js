/**
 * What the page knows, as a fold over what it was told: `reduce(state, event)`.
 *
 * The rules that stay true: nothing here reads a clock or touches a page; a state is never
 * changed, only replaced, and what an event does not concern keeps its identity (so that a view
 * may compare with ===); event types and fields not known here are ignored; everything is bounded
 * by LIMITS, and `state.dropped` counts what a bound has cost.
 *
 * A state holds as of `state.offset`. An event at or before it is history: it enters the list of
 * events and changes nothing else. So a snapshot may come before or after the replay up to it.
 */

import { Draft } from "./draft.js";
import { ENDED, LIMITS } from "./limits.js";
import { appended, failure_of, length_of, preserved_of, task_from } from "./records.js";

export function emptyState() {
  return {
    epoch: null,
    offset: -1,
    mode: "normal",
    tasks: new Map(), // task_id → task, oldest first
    failures: new Map(), // error_id → the newest event about it; open ones only
    breakers: new Map(), // name → {name, scope, state, opened_at, probe_at, error_id, …}
    degradations: new Map(), // degradation_id → its event; those in force only
    degradation: null, // what no event can tell while it lasts: the store is away
    agents: new Map(), // agent_id → worker, as agent.list describes it and events have changed it
    events: [], // oldest first, of this epoch after those of earlier ones
    notices: [], // newest last
    dropped: {}, // name in LIMITS → how many
  };
}

export function reduce(state, event) {
  return reduceAll(state, [event]);
}

/** The same for many events, copying each container once. */
export function reduceAll(state, events) {
  const draft = new Draft(state);
  for (const event of events) {
    if (event.epoch === draft.state.epoch && event.offset <= draft.state.offset) {
      draft.add_history(event);
      continue;
    }
    draft.add_event(event);
    draft.state.epoch = event.epoch;
    draft.state.offset = event.offset;
    if (Object.hasOwn(CHANGES, event.type)) CHANGES[event.type](draft, event);
    if (FAILURE_OPENS.has(event.type) && event.error_id) draft.put("failures", event.error_id, event);
  }
  return draft.done();
}

/** Older events for the list, from `event.list`. */
export function addHistory(state, events) {
  const draft = new Draft(state);
  for (const event of events) draft.add_history(event);
  return draft.done();
}

/**
 * The state as of a snapshot. What the previous state knew beyond it is kept where it cannot be
 * wrong: the list of events and the tasks that had ended. A task that was still open and is not
 * in the snapshot is `lost` when the epoch changed (its log is gone), else `unknown`: it ended, or
 * was left out for size, while nobody listened; ask `task.get` and pass the answer to `withTasks`.
 */
export function fromSnapshot(snapshot, { epoch, offset }, previous = emptyState()) {
  const draft = new Draft({ ...emptyState(), epoch, offset, dropped: previous.dropped, degradation: previous.degradation });
  draft.state.mode = snapshot.mode ?? "normal";
  draft.own("events", (events) => events.concat(previous.events));
  for (const task of previous.tasks.values()) {
    if (ENDED.has(task.status)) draft.put("tasks", task.task_id, task);
    else draft.put("tasks", task.task_id, { ...task, ...absent(epoch !== previous.epoch) });
  }
  for (const record of snapshot.tasks ?? []) put_record(draft, record);
  for (const event of snapshot.failures ?? []) {
    if (event.error_id) draft.put("failures", event.error_id, event);
    const task = event.task_id && draft.state.tasks.get(event.task_id);
    if (task && !task.error) draft.put("tasks", task.task_id, { ...task, error: failure_of(event) });
  }
  for (const event of snapshot.degradations ?? []) draft.put("degradations", event.degradation_id, event);
  for (const breaker of snapshot.breakers ?? []) draft.put("breakers", breaker.name, { ...breaker });
  return draft.done();
}

/** Take over tasks as `task.get` and `task.list` describe them, unless we know better from events. */
export function withTasks(state, records) {
  const draft = new Draft(state);
  for (const record of records) {
    const known = state.tasks.get(record.task_id);
    if (!known || known.status === "unknown") put_record(draft, record);
  }
  return draft.done();
}

/**
 * Take over the workers as `agent.list` describes them, in place of what was known of them.
 * Who is not an operator hears of them in no other way. `seen_at` (ms, the gateway's clock): when.
 */
export function withAgents(state, records, seen_at = null) {
  const agents = new Map();
  for (const record of records.slice(-LIMITS.agents)) {
    agents.set(record.agent_id, { ...worker_of(record.agent_id), ...state.agents.get(record.agent_id), ...record, seen_at });
  }
  return { ...state, agents };
}

/** Take over what the client tells as `degradation`; null: nothing. */
export function withDegradation(state, degradation) {
  return { ...state, degradation };
}

function worker_of(agent_id) {
  return { agent_id, handle: null, agents: [], status: "healthy", since: null, health_score: null, tasks: [], last_heartbeat: null, seen_at: null };
}

/** The gateway has no record of this task any more. */
export function withoutTask(state, task_id) {
  const draft = new Draft(state);
  if (state.tasks.get(task_id)?.status === "unknown") draft.task({ task_id }, absent(true));
  return draft.done();
}

function put_record(draft, record) {
  const known = draft.state.tasks.get(record.task_id);
  draft.put("tasks", record.task_id, task_from(record, known));
}

function absent(epoch_changed) {
  return epoch_changed ? { status: "lost", next: null } : { status: "unknown", next: null };
}

// ---------------------------------------------------------------------- what each event changes

const FAILURE_OPENS = new Set(["agent_error", "circuit_breaker_triggered", "graceful_degradation"]);

/** The other modes of a degradation (`fallback`, …) are of one agent or upstream. */
const GATEWAY_MODES = new Set(["degraded", "read_only", "draining"]);

const CHANGES = {
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
    });
  },

  partial_result(draft, event) {
    const task = draft.task(event);
    if (!task) return;
    const change = {};
    if (typeof event.text === "string") {
      const run = { attempt: event.attempt ?? task.attempt, fallback: task.fallback };
      Object.assign(change, appended(task, run, event.text));
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
    const preserved = preserved_of(event);
    const change = { preserved, progress: event.progress ?? task.progress };
    // Who joined in the middle has seen less than what is kept.
    if (preserved.text.length > length_of(task.text)) {
      const run = { attempt: event.attempt ?? task.attempt, fallback: false };
      Object.assign(change, appended({ text: [], text_dropped: 0 }, run, preserved.text));
    }
    draft.task(event, change);
  },

  agent_error(draft, event) {
    const task = draft.task(event);
    if (!task) return;
    const error = failure_of(event);
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
    });
  },

  recovery_attempt(draft, event) {
    draft.task(event, {
      status: "waiting",
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
      reassigned: { from: event.previous_agent_id ?? null, to: event.new_agent_id ?? null, reason: event.reason ?? null },
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

  system_recovered(draft, event) {
    if (event.error_id) draft.remove("failures", event.error_id);
    if (event.task_id) {
      draft.task(event, {
        recovered: { time: event.recovery_time ?? null, attempts: event.attempts_made ?? null },
      });
    }
    if (event.degradation_id) {
      draft.remove("degradations", event.degradation_id);
      const left = [...draft.state.degradations.values()].map(({ mode }) => mode);
      draft.state.mode = left.findLast((mode) => GATEWAY_MODES.has(mode)) ?? "normal";
    }
    if (event.scope === "breaker") {
      for (const breaker of [...draft.state.breakers.values()]) {
        const meant = event.breaker
          ? breaker.name === event.breaker
          : event.error_id
            ? breaker.error_id === event.error_id
            : breaker.name === event.agent_name;
        if (!meant) continue;
        draft.put("breakers", breaker.name, { ...breaker, state: "closed", probe_at: null, error_id: null });
      }
    }
  },

  circuit_breaker_triggered(draft, event) {
    const name = event.breaker ?? event.agent_name;
    if (!name) return;
    draft.put("breakers", name, {
      name,
      scope: event.scope,
      state: "open",
      opened_at: event.timestamp,
      probe_at: event.probe_at ?? null,
      version: event.breaker_version ?? null,
      cooldown: event.cooldown_period ?? null,
      fallback_active: event.fallback_active ?? false,
      failures: event.failure_threshold_reached ?? null,
      user_message: event.user_message ?? null,
      error_id: event.error_id ?? null,
    });
  },

  circuit_breaker_test_request(draft, event) {
    const name = event.breaker ?? event.agent_name;
    if (!name) return;
    const known = draft.state.breakers.get(name) ?? { name, scope: null, error_id: event.error_id };
    draft.put("breakers", name, { ...known, state: "half_open", probe_at: null });
  },

  graceful_degradation(draft, event) {
    if (event.degradation_id) draft.put("degradations", event.degradation_id, event);
    if (GATEWAY_MODES.has(event.mode)) draft.state.mode = event.mode;
  },

  mode_changed(draft, event) {
    draft.state.mode = event.mode;
  },

  agent_registered(draft, event) {
    const { agent_id } = event;
    if (!agent_id) return;
    const known = draft.state.agents.get(agent_id) ?? worker_of(agent_id);
    draft.put("agents", agent_id, {
      ...known,
      handle: event.handle ?? known.handle,
      agents: event.agents ?? known.agents,
      domain: event.domain ?? null,
      last_heartbeat: event.timestamp ?? known.last_heartbeat,
    });
  },

  agent_status_changed(draft, event) {
    const { agent_id } = event;
    if (!agent_id) return;
    const known = draft.state.agents.get(agent_id) ?? { ...worker_of(agent_id), agents: [event.agent_name].filter(Boolean) };
    draft.put("agents", agent_id, {
      ...known,
      status: event.status,
      reason: event.reason ?? null,
      health_score: event.health_score ?? known.health_score,
      since: event.timestamp,
    });
  },

  request_rejected(draft, event) {
    draft.own("notices", (notices) => draft.bounded("notices", [...notices, event]));
  },

  notification(draft, event) {
    draft.own("notices", (notices) => draft.bounded("notices", [...notices, event]));
  },
};
