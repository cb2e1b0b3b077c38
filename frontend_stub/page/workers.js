/** The workers: how each is, when it was last heard of, and what it works on. */

import { count_up, countdown } from "./countdown.js";
import { h, keyed, set_icon, set_text, show } from "./dom.js";
import { AGENT_STATUS, count, duration, lookup, short_id } from "./words.js";

const WORST_FIRST = ["unhealthy", "quarantined", "suspect", "healthy"];
const GONE_SHOWN = 20;

/** Shown only when there are any. Those that are gone are folded away. */
export function workers(section, place, summary) {
  const list = h("ul.rows");
  const gone_list = h("ul.rows");
  const gone_title = h("summary");
  const gone = h("details.gone", { hidden: true }, gone_title, gone_list);
  place.append(list, gone);

  function draw(state) {
    show(section, state.agents.size > 0);
    if (section.hidden) return;
    const held = held_by_worker(state);
    const all = [...state.agents.values()].map((worker) => ({ worker, tasks: held.get(worker.agent_id) ?? [] }));
    const there = all.filter(({ worker }) => worker.status !== "offline");
    const away = all.filter(({ worker }) => worker.status === "offline");
    there.sort((a, b) => rank(a) - rank(b) || key(a).localeCompare(key(b)));
    keyed(list, there, key_of, row);
    keyed(gone_list, away.slice(-GONE_SHOWN).reverse(), key_of, row);
    show(gone, away.length > 0);
    set_text(gone_title, `${count(away.length, "worker")} offline`);
    const busy = there.filter(({ tasks }) => tasks.length > 0).length;
    set_text(summary, busy > 0 ? `${busy} of ${there.length} at work` : there.length > 0 ? "nothing to do" : "nobody there");
  }
  return { draw };
}

function rank({ worker }) {
  return WORST_FIRST.indexOf(worker.status);
}

function key({ worker }) {
  return `${worker.handle} ${worker.agent_id}`;
}

function key_of({ worker }) {
  return worker.agent_id;
}

/** What the events say is newer than the list; what only the list knows is not here to be named. */
function held_by_worker({ tasks, agents }) {
  const held = new Map();
  const add = (agent_id, line) => held.set(agent_id, [...(held.get(agent_id) ?? []), line]);
  for (const task of tasks.values()) {
    if (task.status === "running" && agents.has(task.agent_id)) add(task.agent_id, `${task.agent_name ?? "task"} ${short_id(task.task_id)}`);
  }
  for (const worker of agents.values()) {
    for (const task_id of worker.tasks ?? []) if (!tasks.has(task_id)) add(worker.agent_id, short_id(task_id));
  }
  return held;
}

function row() {
  const mark = h("span.slot");
  const name = h("span.row-name");
  const id = h("span.row-id");
  const what = h("span.row-what");
  const heard = h("span.row-what");
  const holds = h("span.row-extra");
  const element = h("li.worker", {}, mark, h("div", {}, h("span", {}, name, " ", id), what, heard, holds));

  function update({ worker, tasks }) {
    const [words, shape, tone] = lookup(AGENT_STATUS, worker.status);
    element.className = `worker ${tone}`;
    element.dataset.worker = worker.agent_id;
    element.dataset.status = worker.status;
    set_icon(mark, shape);
    set_text(name, worker.handle ?? "worker");
    set_text(id, short_id(worker.agent_id));
    const names = worker.agents.filter((agent) => agent !== worker.handle);
    set_text(what, names.length > 0 ? `${words} · does ${names.join(", ")}` : words);
    tell_heartbeat(worker);
    show(holds, tasks.length > 0);
    set_text(holds, `Works on ${tasks.join(", ")}`);
  }

  function tell_heartbeat({ status, last_heartbeat, seen_at }) {
    show(heard, Boolean(last_heartbeat));
    if (status === "healthy" && last_heartbeat && seen_at) {
      // Heartbeats are no events: the age is as of when we looked, and would only seem to grow.
      countdown(heard, null);
      set_text(heard, heartbeat_words((seen_at - Date.parse(last_heartbeat)) / 1000));
    } else count_up(heard, last_heartbeat ?? null, heartbeat_words);
  }
  return { element, update };
}

function heartbeat_words(seconds) {
  return `Heartbeat ${seconds < 1 ? "under 1 s" : duration(Math.round(seconds)).replace(".0", "")} ago`;
}
