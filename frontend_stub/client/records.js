/** A task as the page holds it, and how it is read from events and from the gateway's descriptions. */

import { LIMITS } from "./limits.js";

export function new_task(task_id) {
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

export function failure_of(event) {
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
export function preserved_of(given) {
  const names = Array.isArray(given.steps) ? given.steps : null;
  const text = given.preserved_text ?? given.text_preview ?? "";
  return {
    steps: names ? Object.fromEntries(names.map((name) => [name, undefined])) : (given.preserved_data ?? {}),
    text,
    text_length: given.text_length ?? points_of([{ text }]),
    lost: given.lost_data ?? [],
    whole: names === null && !given.truncated,
    expires_at: given.expires_at ?? null,
  };
}

export function length_of(text) {
  return text.reduce((sum, part) => sum + part.text.length, 0);
}

/** Length as the gateway counts it, in characters rather than in JavaScript's halves of them. */
function points_of(text) {
  let points = 0;
  for (const { text: part } of text) for (const _ of part) points += 1;
  return points;
}

/**
 * Add streamed text: to the last part when the same run goes on, else as a new one. At the bound
 * the beginning goes; returns what changes of the task, `text` and `text_dropped`.
 */
export function appended(task, run, piece) {
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

/** A task as the gateway describes it (snapshot, task.get, task.list). */
export function task_from(record, known = new_task(record.task_id)) {
  const preserved = record.preserved ? preserved_of(record.preserved) : known.preserved;
  // Pieces may have passed unseen: then the preview is shown, and says that its beginning is missing.
  const text_dropped = preserved ? preserved.text_length - points_of([preserved]) : 0;
  const unseen = preserved !== null && preserved.text_length !== points_of(known.text) + known.text_dropped;
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
  };
}
