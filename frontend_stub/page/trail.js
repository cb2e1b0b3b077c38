/**
 * One task with its history, at the address `#task=ID`: what was asked, each attempt and why it
 * failed, what was kept, who worked on it, and what it waits for.
 */

import { detailPart } from "./detail.js";
import { h, icon, keyed, setText, show } from "./dom.js";
import { taskCard } from "./task-card.js";
import { trailLine } from "./trail-lines.js";
import { clock, dataWords, shortId } from "./words.js";

const ADDRESS = /^#task=(.+)$/;
const LINES_MAX = 1000;

/**
 * @param {HTMLElement} section for the trail
 * @param {HTMLElement[]} others what gives way to it; the last one takes the focus afterwards
 * @param {object} page load(taskId) → {record, events} or null, for what is known of a task;
 *   actions, of the task's card; opened(): the trail is another one, draw it soon
 */
export function trail(section, others, { load, actions, opened }) {
  const title = h("h2", { id: "trail-title", tabindex: "-1" });
  const back = h("a.back", { href: "#tasks" }, "All tasks");
  const note = h("p.quiet", { role: "status" });
  const asked = h("details.asked", { hidden: true });
  const list = h("ol.trail-lines", { "aria-label": "History" });
  const head = h("div.section-head", {}, title, back);
  section.append(head, note, asked, list);
  let taskId = null;
  let card = null; // of the task, once it is known
  let lines = new Map(); // position → event

  async function open() {
    const [, found] = location.hash.match(ADDRESS) ?? [];
    const next = found ? decoded(found) : null;
    const isOther = next !== taskId;
    const isBack = isOther && next === null;
    taskId = next;
    show(section, taskId !== null);
    for (const other of others) show(other, taskId === null);
    if (isBack) others.at(-1).focus(); // it was hidden when the browser looked for it
    if (isOther) {
      card?.element.remove();
      card = null;
    }
    if (taskId === null) return;
    if (isOther) {
      lines = new Map();
      setText(title, `Task ${shortId(taskId)}`);
      setText(note, "Looking for its history …");
      show(note, true);
      title.focus();
    }
    opened();
    const wanted = taskId;
    const told = await load(wanted);
    if (wanted !== taskId) return;
    for (const event of told?.events ?? []) add(event);
    setText(note, "The gateway knows no such task, or it is not yours to see.");
    show(note, told === null && lines.size === 0);
    fillAsked(told?.record);
    opened();
  }

  function add(event) {
    // Of a long text there is a piece for each word.
    const isTold = trailLine(event, () => "") !== null;
    if (isTold && lines.size < LINES_MAX) lines.set(`${event.epoch} ${event.offset}`, event);
  }

  function fillAsked(record) {
    const input = record?.input;
    show(asked, input !== undefined && input !== null);
    if (asked.hidden) return;
    const text = typeof input?.question === "string" ? input.question : dataWords(input);
    const body = h("pre", { tabindex: "0" }, text);
    asked.replaceChildren(h("summary", {}, "What was asked"), body);
  }

  function draw(state) {
    if (taskId === null) return;
    for (const event of state.events) if (event.task_id === taskId) add(event);
    const task = state.tasks.get(taskId);
    if (task) drawCard(task, nameOf(state, task.agent_id));
    const all = [...lines.values()].sort(inOrder);
    const workerOf = (agentId) => nameOf(state, agentId);
    const told = all.map((event) => lineOf(event, workerOf));
    keyed(list, told, ({ event }) => `${event.epoch} ${event.offset}`, line);
  }

  function drawCard(task, worker) {
    show(note, false);
    if (card === null) {
      card = taskCard(actions);
      head.after(card.element);
    }
    card.update({ task, worker });
  }

  addEventListener("hashchange", open);
  return {
    draw,
    /** Show what the address names; what is known of it is asked for anew. */
    open,
    /** Another visitor may see less. */
    forget: () => (lines = new Map()),
  };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function inOrder(one, other) {
  if (one.epoch === other.epoch) return one.offset - other.offset;
  return one.timestamp < other.timestamp ? -1 : 1;
}

function nameOf({ agents }, agentId) {
  const worker = agents.get(agentId);
  return worker ? `${worker.handle ?? "worker"} ${shortId(agentId)}` : "";
}

const drawn = new WeakMap(); // event → its line, the same object while it says the same

function lineOf(event, workerOf) {
  const told = trailLine(event, workerOf);
  const said = told.said.filter((words) => typeof words === "string" && words).join(" ");
  const before = drawn.get(event);
  if (before?.said === said) return before;
  const next = { ...told, said, event };
  drawn.set(event, next);
  return next;
}

function line({ event, shape, tone, title }) {
  const said = h("p.trail-said");
  const words = [
    h("p.trail-title", {}, title),
    h("time.trail-time", { datetime: event.timestamp }, clock(event.timestamp)),
  ];
  const body = h("div", {}, h("div.trail-head", {}, words), said, detailPart(event.detail ?? null));
  const element = h("li", { class: tone, "data-type": event.type }, slot(shape), body);
  return {
    element,
    update(next) {
      setText(said, next.said);
      show(said, Boolean(next.said));
    },
  };
}

function slot(shape) {
  return h("span.slot", {}, icon(shape));
}
