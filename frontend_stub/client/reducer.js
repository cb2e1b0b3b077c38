/**
 * What a page knows, as a fold over what it was told: `reduce(state, event)`.
 *
 * The rules that stay true:
 * - Nothing here reads a clock or touches a page.
 * - A state is never changed, only replaced. What an event does not concern keeps its identity, so
 *   that a view may compare with ===.
 * - Event types and fields that are not known here are ignored.
 * - Everything is bounded by LIMITS, and `state.dropped` counts what a bound has cost.
 *
 * A state holds as of `state.offset`. An event at or before it is history: it enters the list of
 * events and changes nothing else. So a snapshot may come before or after the replay up to it.
 */

import { Draft } from "./draft.js";
import { GATEWAY_CHANGES, breakerKey } from "./gateway-changes.js";
import { ENDED, LIMITS } from "./limits.js";
import { detailReport, failureOf, newWorker, reportFailure, taskFrom } from "./records.js";
import { TASK_CHANGES } from "./task-changes.js";

const CHANGES = { ...TASK_CHANGES, ...GATEWAY_CHANGES };
const FAILURE_OPENS = new Set(["agent_error", "circuit_breaker_triggered", "graceful_degradation"]);

/** The state before anything was told. */
export function emptyState() {
  return {
    epoch: null,
    offset: -1,
    mode: "normal",
    tasks: new Map(), // task_id → task, oldest first
    failures: new Map(), // error_id → the newest event about it; open ones only
    reports: new Map(), // error_id → {error_id, event, times, recovered}, without a task
    breakers: new Map(), // name, or domain/name → {name, scope, state, opened_at, probe_at, …}
    degradations: new Map(), // degradation_id → its event; those in force only
    degradation: null, // what no event can tell while it lasts: the store is away
    agents: new Map(), // agent_id → worker, as agent.list describes it and events have changed it
    events: [], // oldest first, of this epoch after those of earlier ones
    notices: [], // newest last
    dropped: {}, // name in LIMITS → how many
  };
}

/** The state after one event. */
export function reduce(state, event) {
  return reduceAll(state, [event]);
}

/** The state after many events; each container is copied once. */
export function reduceAll(state, events) {
  const draft = new Draft(state);
  for (const event of events) {
    if (event.epoch === draft.state.epoch && event.offset <= draft.state.offset) {
      draft.addHistory(event);
      continue;
    }
    draft.addEvent(event);
    draft.state.epoch = event.epoch;
    draft.state.offset = event.offset;
    if (Object.hasOwn(CHANGES, event.type)) CHANGES[event.type](draft, event);
    if (FAILURE_OPENS.has(event.type) && event.error_id) {
      draft.put("failures", event.error_id, event);
    }
  }
  return draft.done();
}

/** The state with older events in its list, as `event.list` gives them. */
export function addHistory(state, events) {
  const draft = new Draft(state);
  for (const event of events) {
    draft.addHistory(event);
    detailReport(draft, event);
  }
  return draft.done();
}

/**
 * The state as of a snapshot. Of the previous state the list of events and the tasks that had
 * ended are kept, since they cannot be wrong.
 *
 * A task that was open and is not in the snapshot is `lost` when the epoch changed: its log is
 * gone. Else it is `unknown`: it has ended, or was left out for size, while the page was away. Ask
 * `task.get` for it, and pass the answer to `withTasks`.
 */
export function fromSnapshot(snapshot, { epoch, offset }, previous = emptyState()) {
  const { dropped, degradation } = previous;
  const draft = new Draft({ ...emptyState(), epoch, offset, dropped, degradation });
  draft.state.mode = snapshot.mode ?? "normal";
  draft.own("events", (events) => events.concat(previous.events));
  const absent = absence({ isLogGone: epoch !== previous.epoch });
  for (const task of previous.tasks.values()) {
    draft.put("tasks", task.task_id, ENDED.has(task.status) ? task : { ...task, ...absent });
  }
  for (const report of previous.reports.values()) {
    if (report.recovered) draft.put("reports", report.error_id, report);
  }
  for (const record of snapshot.tasks ?? []) putRecord(draft, record);
  for (const event of snapshot.failures ?? []) {
    if (event.error_id) draft.put("failures", event.error_id, event);
    if (event.type === "agent_error" && !event.task_id) reportFailure(draft, event);
    const task = event.task_id && draft.state.tasks.get(event.task_id);
    if (task && !task.error) {
      draft.put("tasks", task.task_id, { ...task, error: failureOf(event) });
    }
  }
  for (const event of snapshot.degradations ?? []) {
    draft.put("degradations", event.degradation_id, event);
  }
  for (const breaker of snapshot.breakers ?? []) {
    draft.put("breakers", breakerKey(breaker), { ...breaker });
  }
  return draft.done();
}

/** Take over tasks as `task.get` and `task.list` describe them, where events say nothing newer. */
export function withTasks(state, records) {
  const draft = new Draft(state);
  for (const record of records) {
    const known = state.tasks.get(record.task_id);
    if (!known || known.status === "unknown") putRecord(draft, record);
  }
  return draft.done();
}

/**
 * Take over the workers as `agent.list` describes them, in place of what was known of them. Only
 * operators get events about workers, so for a user the list is the one source. `seenAt`: when the
 * list was asked for, in ms of the gateway's clock.
 */
export function withAgents(state, records, seenAt = null) {
  const agents = new Map();
  for (const record of records.slice(-LIMITS.agents)) {
    const known = { ...newWorker(record.agent_id), ...state.agents.get(record.agent_id) };
    agents.set(record.agent_id, { ...known, ...record, seen_at: seenAt });
  }
  return { ...state, agents };
}

/** Take over what the client tells as `degradation`; null: nothing is degraded. */
export function withDegradation(state, degradation) {
  return { ...state, degradation };
}

/** Mark a task that the gateway has no record of any more. */
export function withoutTask(state, taskId) {
  const draft = new Draft(state);
  if (state.tasks.get(taskId)?.status === "unknown") {
    draft.task({ task_id: taskId }, absence({ isLogGone: true }));
  }
  return draft.done();
}

function putRecord(draft, record) {
  const known = draft.state.tasks.get(record.task_id);
  draft.put("tasks", record.task_id, taskFrom(record, known));
}

/** What changes of a task that the gateway does not name any more. */
function absence({ isLogGone }) {
  return { status: isLogGone ? "lost" : "unknown", next: null };
}
