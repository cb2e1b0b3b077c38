/**
 * Tasks and workers as a state holds them, and how a task is read from events and from the
 * descriptions that the gateway gives.
 */

import { LIMITS } from "./limits.js";

/** A task of which nothing but the id is known. */
export function newTask(taskId) {
  return {
    task_id: taskId,
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
    waiting: null, // {for, name, until, similar}: why it does not move
    fallback: false, // the running attempt is the fallback's
    text: [], // [{attempt, fallback, text}]: one continuing text; a seam between each two
    text_dropped: 0, // characters missing at its beginning
    steps: [], // {name, attempt, data}, in the order they were done
    preserved: null, // {steps, text, text_length, lost, whole, expires_at}
    error: null, // the newest
    recovered: null,
    cleanup: null,
    dead_letter: null,
    agent_id: null, // the worker that has it, or had it last
    reassigned: null, // {from, to, reason} when a worker was lost with it
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

/** A worker of which nothing but the id is known. */
export function newWorker(agentId) {
  return {
    agent_id: agentId,
    handle: null,
    agents: [], // names of the agents that it runs
    status: "healthy",
    since: null,
    health_score: null,
    tasks: [], // ids, as of `seen_at`
    last_heartbeat: null,
    seen_at: null, // when the list was asked for, in ms of the gateway's clock
  };
}

/** What a page shows of a failure, from the event that tells it. */
export function failureOf(event) {
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

/** Why a task does not move, from the event or from what the gateway says of the task. */
export function waitOf(given) {
  const { waits_for: waitsFor, name, until, similar } = given;
  return { for: waitsFor, name: name ?? null, until: until ?? null, similar: similar ?? [] };
}

/** Take in a failure that somebody reports without a task: its newest event, and how many came. */
export function reportFailure(draft, event) {
  const key = event.error_id ?? event.event_id;
  if (!key) return;
  const times = (draft.state.reports.get(key)?.times ?? 0) + 1;
  draft.put("reports", key, { error_id: key, event, times, recovered: null });
}

/** Give a report what a snapshot leaves out of its event: what operators alone see of it. */
export function detailReport(draft, event) {
  const report = draft.state.reports.get(event.error_id ?? event.event_id);
  if (!event.detail || report?.event.event_id !== event.event_id || report.event.detail) return;
  draft.put("reports", report.error_id, { ...report, event });
}

/**
 * What is preserved of a task, from the event or from the preview that a snapshot gives of it. A
 * preview has the names of steps without their data, and the end of the text: it is not `whole`,
 * and `task.partial` has the rest.
 */
export function preservedOf(given) {
  const names = Array.isArray(given.steps) ? given.steps : null;
  const data = given.preserved_data ?? {};
  const text = given.preserved_text ?? given.text_preview ?? "";
  return {
    steps: names ? Object.fromEntries(names.map((name) => [name, undefined])) : data,
    text,
    text_length: given.text_length ?? pointsOf([{ text }]),
    lost: given.lost_data ?? [],
    whole: names === null && !given.truncated,
    expires_at: given.expires_at ?? null,
  };
}

/** Length of a streamed text, in JavaScript's units. */
export function lengthOf(text) {
  return text.reduce((sum, part) => sum + part.text.length, 0);
}

/** Length as the gateway counts it: in characters, where JavaScript counts halves of some. */
function pointsOf(text) {
  let points = 0;
  for (const { text: part } of text) for (const _ of part) points += 1;
  return points;
}

/**
 * Add streamed text: to the last part when the same run goes on, else as a new part. At the bound
 * the beginning goes. Returns what changes of the task, `text` and `text_dropped`.
 */
export function appended(task, run, piece) {
  const text = [...task.text];
  const last = text.at(-1);
  if (last && last.attempt === run.attempt && last.fallback === run.fallback) {
    text[text.length - 1] = { ...last, text: last.text + piece };
  } else {
    text.push({ ...run, text: piece });
  }
  let excess = lengthOf(text) - LIMITS.text;
  let dropped = task.text_dropped;
  while (excess > 0) {
    const cut = Math.min(excess, text[0].text.length);
    if (cut === text[0].text.length) text.shift();
    else text[0] = { ...text[0], text: text[0].text.slice(cut) };
    excess -= cut;
    dropped += cut;
  }
  return { text, text_dropped: dropped };
}

/** A task as the gateway describes it in a snapshot, `task.get` or `task.list`. */
export function taskFrom(record, known = newTask(record.task_id)) {
  const attempts = (record.attempts ?? []).map(attemptFrom);
  const nextAt = record.next_attempt_at ?? null;
  const next = { at: nextAt, attempt: null, strategy: null, delay: null };
  const newestError = attempts.findLast((one) => one.error)?.error;
  return {
    ...known,
    agent_name: record.agent_name ?? known.agent_name,
    user_id: record.user_id ?? known.user_id,
    status: record.status,
    priority: record.priority ?? known.priority,
    attempt: record.attempt ?? known.attempt,
    max_attempts: record.max_attempts ?? known.max_attempts,
    progress: record.progress ?? known.progress,
    step: record.step ?? known.step,
    agent_id: record.lease?.agent_id ?? record.attempts?.at(-1)?.agent_id ?? known.agent_id,
    attempts: attempts.length > 0 ? attempts.slice(-LIMITS.attempts) : known.attempts,
    next: record.status === "waiting" ? next : null,
    waiting: record.waiting_for ? waitOf(record.waiting_for) : null,
    ...preservedFrom(record, known),
    error: record.error ? failureOf(record.error) : (newestError ?? known.error),
    degraded: record.degraded ?? known.degraded,
    served_by: record.served_by ?? known.served_by,
    retry_of: record.retry_of ?? known.retry_of,
    result: record.result ?? known.result,
    reason: record.reason ?? known.reason,
    submitted_at: record.created_at ?? known.submitted_at,
    finished_at: record.finished_at ?? known.finished_at,
  };
}

function attemptFrom(one) {
  return {
    attempt: one.attempt,
    mode: one.mode ?? "primary",
    status: one.error ? "failed" : one.ended_at ? "succeeded" : "running",
    served_by: one.served_by ?? null,
    limit: null,
    started_at: one.started_at ?? null,
    ended_at: one.ended_at ?? null,
    error: one.error ? failureOf(one.error) : null,
  };
}

/**
 * What is preserved, and the text where pieces of it have passed unseen: the preview is shown in
 * their place, and `text_dropped` says that its beginning is missing.
 */
function preservedFrom(record, known) {
  const preserved = record.preserved ? preservedOf(record.preserved) : known.preserved;
  if (preserved === null) return { preserved };
  const seen = pointsOf(known.text) + known.text_dropped;
  if (preserved.text_length === seen) return { preserved };
  const dropped = preserved.text_length - pointsOf([preserved]);
  const run = { attempt: record.attempt ?? 0, fallback: false };
  return { preserved, ...appended({ text: [], text_dropped: dropped }, run, preserved.text) };
}
