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

/** At each bound the oldest goes; of tasks the oldest that has ended, if there is one. */
export const LIMITS = Object.freeze({
  tasks: 500,
  events: 1000,
  text: 262_144, // characters of streamed text per task; the beginning goes
  attempts: 50, // per task
  steps: 100, // per task
  failures: 500,
  degradations: 100,
  breakers: 200,
  agents: 500,
  notices: 20, // rejections and notifications
});

export const ENDED = new Set(["succeeded", "failed", "cancelled", "dead_lettered", "lost"]);

export function emptyState() {
  return {
    epoch: null,
    offset: -1,
    mode: "normal",
    tasks: new Map(), // task_id → task, oldest first
    failures: new Map(), // error_id → the newest event about it; open ones only
    breakers: new Map(), // name → {name, scope, state, opened_at, probe_at, error_id, …}
    degradations: new Map(), // degradation_id → its event; those in force only
    agents: new Map(), // agent_id or agent_name → {name, status, reason, health_score, …}
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
  const draft = new Draft({ ...emptyState(), epoch, offset, dropped: previous.dropped });
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

/** The gateway has no record of this task any more. */
export function withoutTask(state, task_id) {
  const draft = new Draft(state);
  if (state.tasks.get(task_id)?.status === "unknown") draft.task({ task_id }, absent(true));
  return draft.done();
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
    draft.task(event, { status: "waiting", reassigned: event.reason ?? true });
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

  agent_status_changed(draft, event) {
    const key = event.agent_id ?? event.agent_name;
    if (!key) return;
    if (event.status === "offline" && event.reason === "removed") draft.remove("agents", key);
    else
      draft.put("agents", key, {
        key,
        name: event.agent_name ?? key,
        status: event.status,
        reason: event.reason ?? null,
        health_score: event.health_score ?? null,
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

// ---------------------------------------------------------------------- shapes

function new_task(task_id) {
  return {
    task_id,
    agent_name: null,
    user_id: null,
    status: "pending",
    progress: null, // 0 … 1, null: never told
    step: null,
    priority: null,
    attempt: 0,
    max_attempts: null,
    attempts: [], // {attempt, mode, status, served_by, limit, started_at, ended_at, error}
    next: null, // {at, attempt, strategy, delay} while waiting for a try
    fallback: false, // the running attempt is the fallback's
    text: [], // [{attempt, fallback, text}]: one continuing text; a seam between each two
    text_dropped: 0, // characters missing at its beginning
    steps: [], // {name, attempt, data}, in the order they were done
    preserved: null, // {steps, text, text_length, lost, whole, expires_at}
    error: null, // the newest
    recovered: null,
    cleanup: null,
    dead_letter: null,
    reassigned: null,
    retry_of: null,
    degraded: false,
    served_by: null,
    result: undefined,
    reason: null,
    duration: null,
    submitted_at: null,
    finished_at: null,
  };
}

function failure_of(event) {
  return {
    error_id: event.error_id ?? null,
    type: event.error_type,
    code: event.error_code,
    user_message: event.user_message,
    suggested_action: event.suggested_action,
    retry_possible: event.retry_possible ?? false,
    will_retry: event.will_retry ?? false,
    estimate: event.estimated_recovery_time ?? null,
  };
}

/**
 * From the event, or from the preview that a snapshot gives of it: names of steps without their
 * data, and the end of the text. What is missing there, `task.partial` has (`whole: false`).
 */
function preserved_of(given) {
  const names = Array.isArray(given.steps) ? given.steps : null;
  const text = given.preserved_text ?? given.text_preview ?? "";
  return {
    steps: names ? Object.fromEntries(names.map((name) => [name, undefined])) : (given.preserved_data ?? {}),
    text,
    text_length: given.text_length ?? text.length,
    lost: given.lost_data ?? [],
    whole: names === null && !given.truncated,
    expires_at: given.expires_at ?? null,
  };
}

function length_of(text) {
  return text.reduce((sum, part) => sum + part.text.length, 0);
}

function appended(task, run, piece) {
  const text = [...task.text];
  const last = text.at(-1);
  if (last && last.attempt === run.attempt && last.fallback === run.fallback) {
    text[text.length - 1] = { ...last, text: last.text + piece };
  } else {
    text.push({ ...run, text: piece });
  }
  let excess = length_of(text) - LIMITS.text;
  let text_dropped = task.text_dropped;
  while (excess > 0) {
    const cut = Math.min(excess, text[0].text.length);
    if (cut === text[0].text.length) text.shift();
    else text[0] = { ...text[0], text: text[0].text.slice(cut) };
    excess -= cut;
    text_dropped += cut;
  }
  return { text, text_dropped };
}

function absent(epoch_changed) {
  return epoch_changed ? { status: "lost", next: null } : { status: "unknown", next: null };
}

/** A task as the gateway describes it (snapshot, task.get, task.list). */
function put_record(draft, record) {
  const known = draft.state.tasks.get(record.task_id) ?? new_task(record.task_id);
  const preserved = record.preserved ? preserved_of(record.preserved) : known.preserved;
  // Pieces may have passed unseen: then the preview is shown, and says that its beginning is missing.
  const text_dropped = preserved ? preserved.text_length - preserved.text.length : 0;
  const unseen = preserved !== null && preserved.text_length !== length_of(known.text) + known.text_dropped;
  const run = { attempt: record.attempt ?? 0, fallback: false };
  const attempts = (record.attempts ?? []).map((one) => ({
    attempt: one.attempt,
    mode: one.mode ?? "primary",
    status: one.error ? "failed" : one.ended_at ? "succeeded" : "running",
    served_by: one.served_by ?? null,
    limit: null,
    started_at: one.started_at ?? null,
    ended_at: one.ended_at ?? null,
    error: one.error ? failure_of(one.error) : null,
  }));
  const next_at = record.next_attempt_at ?? null;
  draft.put("tasks", record.task_id, {
    ...known,
    agent_name: record.agent_name ?? known.agent_name,
    user_id: record.user_id ?? known.user_id,
    status: record.status,
    priority: record.priority ?? known.priority,
    attempt: record.attempt ?? known.attempt,
    max_attempts: record.max_attempts ?? known.max_attempts,
    progress: record.progress ?? known.progress,
    step: record.step ?? known.step,
    attempts: attempts.length > 0 ? draft.bounded("attempts", attempts) : known.attempts,
    next: record.status === "waiting" ? { at: next_at, attempt: null, strategy: null, delay: null } : null,
    preserved,
    ...(unseen ? appended({ text: [], text_dropped }, run, preserved.text) : {}),
    error: record.error ? failure_of(record.error) : (attempts.findLast((one) => one.error)?.error ?? known.error),
    degraded: record.degraded ?? known.degraded,
    served_by: record.served_by ?? known.served_by,
    retry_of: record.retry_of ?? known.retry_of,
    result: record.result ?? known.result,
    reason: record.reason ?? known.reason,
    submitted_at: record.created_at ?? known.submitted_at,
    finished_at: record.finished_at ?? known.finished_at,
  });
}

/** A state in the making: each container and each task is copied at its first change. */
class Draft {
  #owned = new Set();

  constructor(state) {
    this.state = { ...state };
  }

  done() {
    return this.state;
  }

  own(name, change) {
    this.state[name] = change(this.state[name]);
  }

  #map(name) {
    if (!this.#owned.has(name)) {
      this.#owned.add(name);
      this.state[name] = new Map(this.state[name]);
    }
    return this.state[name];
  }

  put(name, key, value) {
    const map = this.#map(name);
    if (!map.has(key) && map.size >= LIMITS[name]) {
      map.delete(name === "tasks" ? oldest_task(map) : map.keys().next().value);
      this.#count(name, 1);
    }
    map.set(key, value);
  }

  remove(name, key) {
    if (this.state[name].has(key)) this.#map(name).delete(key);
  }

  /**
   * Change the event's task, making it when it is new; returns it, or null when there is none
   * to change. After its end only `resource_cleanup` may still add something.
   */
  task(event, change = {}) {
    const { task_id } = event;
    if (!task_id) return null;
    const known = this.state.tasks.get(task_id);
    if (known && ENDED.has(known.status) && event.type !== "resource_cleanup") return null;
    const task = { ...(known ?? new_task(task_id)), ...change };
    task.agent_name ??= event.agent_name ?? null;
    task.user_id ??= event.user_id ?? null;
    task.submitted_at ??= event.timestamp ?? null;
    this.put("tasks", task_id, task);
    return task;
  }

  bounded(name, list) {
    const excess = list.length - LIMITS[name];
    if (excess <= 0) return list;
    this.#count(name, excess);
    return list.slice(excess);
  }

  add_event(event) {
    const events = this.#events();
    events.push(event);
    // A tenth more than the bound is let in before the list is cut, so that cutting stays rare.
    if (events.length > LIMITS.events * 1.1) this.#trim_events();
  }

  add_history(event) {
    const events = this.#events();
    let at = events.length;
    while (at > 0 && events[at - 1].epoch === event.epoch && events[at - 1].offset > event.offset) at -= 1;
    const before = events[at - 1];
    if (before && before.epoch === event.epoch && before.offset === event.offset) return;
    if (at === 0 && events.length >= LIMITS.events) return;
    events.splice(at, 0, event);
    if (events.length > LIMITS.events * 1.1) this.#trim_events();
  }

  #events() {
    if (!this.#owned.has("events")) {
      this.#owned.add("events");
      this.state.events = this.state.events.slice();
    }
    return this.state.events;
  }

  #trim_events() {
    this.#count("events", this.state.events.length - LIMITS.events);
    this.state.events = this.state.events.slice(-LIMITS.events);
  }

  #count(name, many) {
    this.state.dropped = { ...this.state.dropped, [name]: (this.state.dropped[name] ?? 0) + many };
  }
}

function oldest_task(tasks) {
  for (const [task_id, task] of tasks) if (ENDED.has(task.status)) return task_id;
  return tasks.keys().next().value;
}
