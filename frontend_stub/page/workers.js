/** The workers: how each is, when its last heartbeat came, and what it works on. */

import { countUp, countdown } from "./countdown.js";
import { h, keyed, setIcon, setText, show } from "./dom.js";
import {
  AGENT_STATUS,
  WORKER_REASON,
  count,
  duration,
  lookup,
  sentence,
  shortId,
} from "./words.js";

const WORST_FIRST = ["unhealthy", "quarantined", "suspect", "healthy"];
const GONE_SHOWN = 20;

/** Draw the workers, if there are any. Those that are offline are folded away. */
export function workers(section, place, summary) {
  const list = h("ul.rows");
  const goneList = h("ul.rows");
  const goneTitle = h("summary");
  const gone = h("details.gone", { hidden: true }, goneTitle, goneList);
  place.append(list, gone);

  function draw(state) {
    show(section, state.agents.size > 0);
    if (section.hidden) return;
    const held = heldByWorker(state);
    const all = [...state.agents.values()].map((worker) => ({
      worker,
      tasks: held.get(worker.agent_id) ?? [],
    }));
    const there = all.filter(({ worker }) => worker.status !== "offline");
    const away = all.filter(({ worker }) => worker.status === "offline");
    there.sort((a, b) => rank(a) - rank(b) || key(a).localeCompare(key(b)));
    keyed(list, there, keyOf, row);
    keyed(goneList, away.slice(-GONE_SHOWN).reverse(), keyOf, row);
    show(gone, away.length > 0);
    setText(goneTitle, `${count(away.length, "worker")} offline`);
    const busy = there.filter(({ tasks }) => tasks.length > 0).length;
    setText(summary, summaryWords(busy, there.length));
  }
  return { draw };
}

function summaryWords(busy, there) {
  if (busy > 0) return `${busy} of ${there} at work`;
  return there > 0 ? "nothing to do" : "nobody there";
}

function rank({ worker }) {
  return WORST_FIRST.indexOf(worker.status);
}

function key({ worker }) {
  return `${worker.handle} ${worker.agent_id}`;
}

function keyOf({ worker }) {
  return worker.agent_id;
}

/**
 * The tasks of each worker, in words. Events are newer than the list of workers, so they decide
 * where both know a task. A task that only the list knows has an id and no name.
 */
function heldByWorker({ tasks, agents }) {
  const held = new Map();
  const add = (agentId, line) => held.set(agentId, [...(held.get(agentId) ?? []), line]);
  for (const task of tasks.values()) {
    if (task.status !== "running" || !agents.has(task.agent_id)) continue;
    add(task.agent_id, `${task.agent_name ?? "task"} ${shortId(task.task_id)}`);
  }
  for (const worker of agents.values()) {
    for (const taskId of worker.tasks ?? []) {
      if (!tasks.has(taskId)) add(worker.agent_id, shortId(taskId));
    }
  }
  return held;
}

function row() {
  const mark = h("span.slot");
  const name = h("span.row-name");
  const id = h("span.row-id");
  const what = h("span.row-what");
  const why = h("span.row-what.why");
  const health = h("span.row-what.health");
  const heard = h("span.row-what");
  const holds = h("span.row-extra");
  const lines = h("div", {}, h("span", {}, name, " ", id), what, why, health, heard, holds);
  const element = h("li.worker", {}, mark, lines);

  function update({ worker, tasks }) {
    const [words, shape, tone] = lookup(AGENT_STATUS, worker.status);
    element.className = `worker ${tone}`;
    element.dataset.worker = worker.agent_id;
    element.dataset.status = worker.status;
    setIcon(mark, shape);
    setText(name, worker.handle ?? "worker");
    setText(id, shortId(worker.agent_id));
    const names = worker.agents.filter((agent) => agent !== worker.handle);
    const does = names.length > 0 ? ` · does ${names.join(", ")}` : "";
    const where = worker.domain ? ` · domain ${worker.domain}` : "";
    setText(what, `${words}${does}${where}`);
    tellWhy(worker);
    tellHealth(worker);
    tellHeartbeat(worker);
    show(holds, tasks.length > 0);
    setText(holds, `Works on ${tasks.join(", ")}`);
  }

  /** A worker that is well has no need of words. */
  function tellWhy({ status, reason }) {
    const isTold = status !== "healthy" && Boolean(reason);
    show(why, isTold);
    if (!isTold) return;
    setText(why, WORKER_REASON.get(reason) ?? sentence(reason.replaceAll("_", " ")));
  }

  function tellHealth({ health_score: score, status }) {
    const isTold = typeof score === "number" && status !== "offline";
    show(health, isTold);
    if (isTold) setText(health, `Health ${Math.round(score * 100)} of 100`);
  }

  function tellHeartbeat({ status, last_heartbeat: newest, seen_at: seenAtMs }) {
    show(heard, Boolean(newest));
    if (status === "healthy" && newest && seenAtMs) {
      // Heartbeats are no events: the age is as of the newest list, and would only seem to grow.
      countdown(heard, null);
      setText(heard, heartbeatWords((seenAtMs - Date.parse(newest)) / 1000));
    } else {
      countUp(heard, newest ?? null, heartbeatWords);
    }
  }
  return { element, update };
}

function heartbeatWords(ageS) {
  const age = ageS < 1 ? "under 1 s" : duration(Math.round(ageS)).replace(".0", "");
  return `Heartbeat ${age} ago`;
}
