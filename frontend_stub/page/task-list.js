/** The list of tasks and of reports without a task, newest first, and the line that sums it up. */

import { h, keyed, setText, show } from "./dom.js";
import { reportCard } from "./report-card.js";
import { taskCard } from "./task-card.js";
import { count, shortId } from "./words.js";

const SHOWN_AT_FIRST = 40;
const SHOWN_MORE = 100;

/**
 * @param {object} places elements: list, more, summary
 * @param {object} actions retry(task), cancel(task), partial(task) (promises), questionOf(task)
 */
export function taskList(places, actions) {
  let shown = SHOWN_AT_FIRST;
  let last = null;
  const showMore = () => {
    shown += SHOWN_MORE;
    draw(last);
  };
  const more = h("button.plain", { type: "button", hidden: true, onclick: showMore });
  places.more.append(more);
  const invitation = "No tasks yet. Ask an agent something, and watch it here.";
  const nothing = h("div.empty", {}, h("p", {}, invitation));
  places.list.before(nothing);

  function draw(state) {
    last = state;
    // Sorted, since what a snapshot left out enters the map later.
    const all = [...state.tasks.values(), ...state.reports.values()];
    const newestFirst = all.reverse().sort(newerFirst);
    const items = newestFirst.slice(0, shown).map((one) => itemOf(one, state.agents));
    keyed(places.list, items, keyOf, (item) => (item.task ? taskCard : reportCard)(actions));
    const hidden = newestFirst.length - shown;
    show(more, hidden > 0);
    setText(more, `Show older tasks (${hidden})`);
    show(nothing, newestFirst.length === 0 && state.epoch !== null);
    setText(places.summary, summary(state));
  }
  return { draw };
}

const paired = new WeakMap(); // task → {task, worker}, the same object while both are the same

function itemOf(one, agents) {
  return one.event ? one : withWorker(one, agents);
}

function keyOf({ task, error_id: errorId }) {
  return task?.task_id ?? errorId;
}

/** Pair a task with what its worker is called; "" when the page knows no such worker. */
function withWorker(task, agents) {
  const known = agents.get(task.agent_id);
  const worker = known ? `${known.handle ?? "worker"} ${shortId(known.agent_id)}` : "";
  const pair = paired.get(task);
  if (pair?.worker === worker) return pair;
  const next = { task, worker };
  paired.set(task, next);
  return next;
}

function newerFirst(one, other) {
  const [a, b] = [beginOf(one), beginOf(other)];
  return a < b ? 1 : a > b ? -1 : 0;
}

function beginOf({ submitted_at: submittedAt, event }) {
  return submittedAt ?? event?.timestamp ?? "";
}

const SUMMED_UP = {
  pending: "working",
  running: "working",
  waiting: "waiting",
  succeeded: "done",
  failed: "failed",
  dead_lettered: "failed",
  lost: "failed",
};

function summary(state) {
  const many = { working: 0, waiting: 0, held: 0, done: 0, failed: 0 };
  for (const { status, waiting } of state.tasks.values()) {
    if (waiting !== null && status !== "lost") many.held += 1;
    else if (Object.hasOwn(SUMMED_UP, status)) many[SUMMED_UP[status]] += 1;
  }
  const parts = [];
  if (many.working) parts.push(`${many.working} working`);
  if (many.waiting) parts.push(`${many.waiting} trying again`);
  if (many.held) parts.push(`${many.held} held back`);
  if (many.done) parts.push(`${many.done} done`);
  if (many.failed) parts.push(`${many.failed} failed`);
  if (state.reports.size) parts.push(count(state.reports.size, "report"));
  if (state.dropped.tasks) parts.push(`${state.dropped.tasks} older not kept here`);
  return parts.join(" · ");
}
