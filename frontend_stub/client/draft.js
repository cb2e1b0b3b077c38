/**
 * A state in the making: what `reducer.js` writes to, so that the states it gives out never change.
 * The bounds are kept here, in the one place through which everything enters.
 */

import { ENDED, LIMITS } from "./limits.js";
import { new_task } from "./records.js";

/** Each container is copied at its first change, each task at every change. */
export class Draft {
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
