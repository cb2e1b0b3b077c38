/**
 * What a snapshot leaves out, and the page asks for: tasks that have ended, and the events before
 * the snapshot. A list of workers is asked for in the same way.
 *
 * Each function gets a `link`: {client, store, topics(session), isCurrent()}. A link is no longer
 * current when the page has begun anew with another client; answers that come later are left out.
 */

import {
  LIMITS,
  addHistory,
  withAgents,
  withTasks,
  withoutTask,
} from "../client/gateway-client.js";
import { requireRefusal } from "./refusals.js";

/** How far back the list of events begins; further where little was found: offsets have holes. */
const HISTORY_OFFSETS = [500, 8000];
const HISTORY_EVENTS = 100; // this many are no longer little
const HISTORY_EVENTS_PER_PAGE = 500;
const HISTORY_PAGES = 4;
const HISTORY_TASKS = 100;
const LOOK_UP_AT_ONCE = 20; // unknown tasks asked for after a snapshot

/** Ask for what a snapshot has left out. */
export async function fillIn(link, { epoch, offset }) {
  const { client, store } = link;
  if (!(await liveAgain(client)) || !link.isCurrent()) return;
  const [topic] = link.topics(client.session);
  const owner = topic.startsWith("user:") ? { user_id: topic.slice("user:".length) } : {};
  const unknown = [...store.state.tasks.values()].filter(({ status }) => status === "unknown");
  await Promise.all([
    takeAnswer(link, "task.list", { limit: HISTORY_TASKS, ...owner }, (state, { items }) =>
      withTasks(state, [...items].sort(byCreation)),
    ),
    lookBack(link, topic, { epoch, offset }),
  ]);
  for (const { task_id: taskId } of unknown.slice(-LOOK_UP_AT_ONCE)) await lookUp(link, taskId);
}

/** Ask for one task that the snapshot does not name. */
async function lookUp(link, taskId) {
  const { client, store } = link;
  await takeAnswer(link, "task.get", { task_id: taskId }, (state, record) =>
    withTasks(state, [record]),
  );
  const isUnknown = store.state.tasks.get(taskId)?.status === "unknown";
  if (link.isCurrent() && client.state.name === "live" && isUnknown) {
    store.change((state) => withoutTask(state, taskId));
  }
}

/** Ask for the newest events before a snapshot. */
async function lookBack(link, topic, { epoch, offset }) {
  for (const reach of HISTORY_OFFSETS) {
    const since = `${epoch}:${Math.max(0, offset - reach)}`;
    const params = { topic, since, limit: HISTORY_EVENTS_PER_PAGE };
    let found = 0;
    for (let page = 0; page < HISTORY_PAGES; page += 1) {
      let cursor = null;
      await takeAnswer(link, "event.list", params, (state, { items, next }) => {
        found += items.length;
        cursor = next;
        return addHistory(state, items);
      });
      if (!cursor) break;
      params.cursor = cursor;
    }
    if (found >= HISTORY_EVENTS || reach >= offset) return;
  }
}

/**
 * Give what the gateway knows of one task: {record, events}, of its events the first ones; null:
 * nothing, or no answer.
 */
export async function taskHistory(link, taskId) {
  const { client, store } = link;
  if (!(await liveAgain(client)) || !link.isCurrent()) return null;
  try {
    const record = await client.call("task.get", { task_id: taskId });
    const events = [];
    const params = { topic: `task:${taskId}`, since: "0", limit: HISTORY_EVENTS_PER_PAGE };
    for (let page = 0; page < HISTORY_PAGES; page += 1) {
      const { items, next } = await client.call("event.list", params);
      events.push(...items);
      if (!next) break;
      params.cursor = next;
    }
    if (link.isCurrent()) store.change((state) => withTasks(state, [record]));
    return { record, events };
  } catch (error) {
    requireRefusal(error);
    return null;
  }
}

/** Ask for the list of workers. */
export async function lookAtWorkers(link) {
  const { client } = link;
  if (client.state.name !== "live") return;
  await takeAnswer(link, "agent.list", { limit: LIMITS.agents }, (state, { items }) =>
    withAgents(state, items, client.serverNow()),
  );
}

/** Call the gateway, and let `use(state, result)` make the next state of the answer. */
async function takeAnswer(link, method, params, use) {
  try {
    const result = await link.client.call(method, params);
    if (link.isCurrent()) link.store.change((state) => use(state, result));
  } catch (error) {
    requireRefusal(error);
    // The call was not permitted, or cut: the page shows less, and nothing wrong.
  }
}

/** Wait until the client is live; false: it was closed. */
export function liveAgain(client) {
  return new Promise((resolve) => {
    if (client.state.name === "live") {
      resolve(true);
      return;
    }
    const stop = client.on("state", ({ name }) => {
      if (name !== "live" && name !== "closed") return;
      stop();
      resolve(name === "live");
    });
  });
}

function byCreation(one, other) {
  return String(one.created_at).localeCompare(String(other.created_at));
}
