/**
 * A state in the making. The reducer writes to a draft, so that a state it gave out never changes.
 * The bounds are kept here, since everything enters a state through a draft.
 */

import { ENDED, LIMITS } from "./limits.js";
import { newTask } from "./records.js";

/** A tenth more than the bound is let in before the list is cut, so that cutting stays rare. */
const EVENTS_BEFORE_CUT = LIMITS.events * 1.1;

/** The next state. Each container is copied at its first change, each task at every change. */
export class Draft {
  #owned = new Set();

  constructor(state) {
    this.state = { ...state };
  }

  /** Give the state out; the draft is not used any more. */
  done() {
    return this.state;
  }

  /** Replace a container by what `change` makes of it. */
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

  /** Set an entry of a map; at its bound the oldest goes. */
  put(name, key, value) {
    const map = this.#map(name);
    if (!map.has(key) && map.size >= LIMITS[name]) {
      map.delete(name === "tasks" ? oldestTask(map) : map.keys().next().value);
      this.#count(name, 1);
    }
    map.set(key, value);
  }

  /** Take an entry out of a map, if it is there. */
  remove(name, key) {
    if (this.state[name].has(key)) this.#map(name).delete(key);
  }

  /**
   * Change the event's task and return it; a task that is new is made. Returns null when the event
   * has no task, or one that has ended: after the end only `resource_cleanup` adds something.
   */
  task(event, change = {}) {
    const { task_id: taskId } = event;
    if (!taskId) return null;
    const known = this.state.tasks.get(taskId);
    if (known && ENDED.has(known.status) && event.type !== "resource_cleanup") return null;
    const task = { ...(known ?? newTask(taskId)), ...change };
    task.agent_name ??= event.agent_name ?? null;
    task.user_id ??= event.user_id ?? null;
    task.submitted_at ??= event.timestamp ?? null;
    this.put("tasks", taskId, task);
    return task;
  }

  /** Cut a list at its bound; the oldest entries go. */
  bounded(name, list) {
    const excess = list.length - LIMITS[name];
    if (excess <= 0) return list;
    this.#count(name, excess);
    return list.slice(excess);
  }

  /** Add an event at the end of the list. */
  addEvent(event) {
    const events = this.#events();
    events.push(event);
    if (events.length > EVENTS_BEFORE_CUT) this.#trimEvents();
  }

  /** Add an event at its place in the list, unless it is there or too old to be kept. */
  addHistory(event) {
    const events = this.#events();
    const isLater = (other) => other.epoch === event.epoch && other.offset > event.offset;
    let at = events.length;
    while (at > 0 && isLater(events[at - 1])) at -= 1;
    const before = events[at - 1];
    if (before && before.epoch === event.epoch && before.offset === event.offset) return;
    if (at === 0 && events.length >= LIMITS.events) return;
    events.splice(at, 0, event);
    if (events.length > EVENTS_BEFORE_CUT) this.#trimEvents();
  }

  #events() {
    if (!this.#owned.has("events")) {
      this.#owned.add("events");
      this.state.events = this.state.events.slice();
    }
    return this.state.events;
  }

  #trimEvents() {
    this.#count("events", this.state.events.length - LIMITS.events);
    this.state.events = this.state.events.slice(-LIMITS.events);
  }

  #count(name, many) {
    const { dropped } = this.state;
    this.state.dropped = { ...dropped, [name]: (dropped[name] ?? 0) + many };
  }
}

/** The oldest task that has ended, else the oldest: a task that is open is still waited for. */
function oldestTask(tasks) {
  for (const [taskId, task] of tasks) if (ENDED.has(task.status)) return taskId;
  return tasks.keys().next().value;
}
