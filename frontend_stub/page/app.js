/**
 * The page: wires the client to the reducer, and the reducer's state to the views.
 *
 * It decides nothing about tasks. Events go in, a state comes out, and at the next frame the
 * views draw what differs. All that the user does is one call to the gateway; what follows from
 * it comes back as an event, here and in every other window.
 */

import {
  CallError,
  GatewayClient,
  LIMITS,
  NoAnswer,
  addHistory,
  emptyState,
  fromSnapshot,
  reduceAll,
  topics_of,
  withAgents,
  withDegradation,
  withTasks,
  withoutTask,
} from "../client/gateway-client.js";
import { ask_form, identity, sign_in_form } from "./ask-form.js";
import { connection_bar, missed_words } from "./connection-bar.js";
import { count_by } from "./countdown.js";
import { demo_panel } from "./demo-panel.js";
import { event_list } from "./event-list.js";
import { banners, breakers, notices } from "./panels.js";
import { task_cards } from "./task-card.js";
import { sentence } from "./words.js";
import { worker_watch } from "./worker-watch.js";
import { workers } from "./workers.js";

const at = (id) => document.getElementById(id);

/** Reduced at once beyond this, without waiting for a frame: a hidden page gets no frames. */
const QUEUE_MAX = 2000;
/** How far back the list of events begins; further where little was found, as offsets have holes. */
const HISTORY_OFFSETS = [500, 8000];
const HISTORY_EVENTS = 100; // this many are no longer little
const HISTORY_PAGES = 4;
const HISTORY_TASKS = 100;
const LOOK_UP_AT_ONCE = 20; // unknown tasks asked for after a snapshot
const ANNOUNCE_EVERY_MS = 1500; // a screen reader hears the newest of what came in between
const ASK_TRIES = 3;

const address = new URL(location.href);
let user = address.searchParams.has("operator") ? null : (address.searchParams.get("user") ?? "demo");
let token = session_get("gateway.token");
let client = null;
let state = emptyState();
let queue = [];
let frame = null;
const questions = new Map(); // task_id → what was asked here; the gateway does not tell it again

// ---------------------------------------------------------------------- views

const bar = connection_bar(at("connection"), { reconnect: () => client.reconnect_now() });
const who = identity(at("identity"), { switch_to });
const sign_in = sign_in_form(at("sign-in"), {
  sign_in: (given) => {
    token = given;
    session_set("gateway.token", given);
    begin();
  },
});
const form = ask_form(at("ask"), { ask });
const demo = demo_panel(at("demo"), at("story"), { fetch: fetch_with_token, ask });
const watch = worker_watch({ look: look_at_workers, any: () => state.agents.size > 0 });
const views = [
  banners(at("banners")),
  notices(at("notices"), at("tasks")),
  task_cards(
    { list: at("task-list"), more: at("tasks-more"), summary: at("tasks-summary") },
    { retry, cancel, partial: ({ task_id }) => client.call("task.partial", { task_id }), question_of },
  ),
  breakers(at("breaker-list")),
  workers(at("workers"), at("worker-list"), at("workers-summary")),
  event_list(at("event-view"), at("events-summary")),
];

// ---------------------------------------------------------------------- state

function begin() {
  client?.close();
  state = emptyState();
  queue = [];
  bar.tell_missed(null);
  const socket_url = new URL("ws", document.baseURI);
  socket_url.protocol = socket_url.protocol.replace("http", "ws");
  socket_url.search = socket_url.hash = "";
  client = new GatewayClient(socket_url, {
    token: token || undefined,
    user_id: user ?? undefined,
    client: "gateway-page/1",
  });
  const mine = client;
  client.on("state", (next) => mine === client && connection_changed(next));
  client.on("session", () => mine === client && draw_identity());
  client.on("snapshot", (given) => mine === client && take_snapshot(given));
  client.on("missed", (info) => mine === client && tell_missed(info));
  client.on("event", (event) => mine === client && take_event(event));
  client.on("degradation", (told) => mine === client && take_degradation(told));
  count_by(() => client.server_now());
  draw_identity();
  schedule();
  client.start();
}

function take_degradation(told) {
  digest();
  if (told && !state.degradation) announce(told.user_message);
  state = withDegradation(state, told);
  schedule();
}

function take_event(event) {
  queue.push(event);
  if (queue.length >= QUEUE_MAX) digest();
  schedule();
}

function digest() {
  if (queue.length === 0) return;
  const events = queue;
  queue = [];
  state = reduceAll(state, events);
  if (client.state.name !== "replaying") {
    announce_newest(events);
    watch.heard(events);
  }
  if (events.some(({ type }) => type === "task_started" || type === "agent_error" || type === "task_finished")) demo.stir();
}

function take_snapshot({ snapshot, epoch, offset }) {
  digest();
  state = fromSnapshot(snapshot, { epoch, offset }, state);
  schedule();
  fill_in(client, { epoch, offset });
}

/** What a snapshot leaves out: tasks that have ended, the events before it, names of agents. */
async function fill_in(mine, { epoch, offset }) {
  if (!(await live_again()) || mine !== client) return;
  const asked = (...call) => take_answer(mine, ...call);
  const [topic] = topics_of(mine.session);
  const unknown = [...state.tasks.values()].filter(({ status }) => status === "unknown");
  await Promise.all([
    asked("task.list", { limit: HISTORY_TASKS }, ({ items }) => withTasks(state, [...items].sort(by_creation))),
    look_back(asked, topic, { epoch, offset }),
  ]);
  for (const { task_id } of unknown.slice(-LOOK_UP_AT_ONCE)) {
    await asked("task.get", { task_id }, (record) => withTasks(state, [record]));
    if (mine === client && mine.state.name === "live" && state.tasks.get(task_id)?.status === "unknown") {
      state = withoutTask(state, task_id);
      schedule();
    }
  }
}

/** The newest events before a snapshot. */
async function look_back(asked, topic, { epoch, offset }) {
  for (const reach of HISTORY_OFFSETS) {
    const params = { topic, since: `${epoch}:${Math.max(0, offset - reach)}`, limit: 500 };
    let found = 0;
    for (let page = 0; page < HISTORY_PAGES; page += 1) {
      let cursor = null;
      await asked("event.list", params, ({ items, next }) => {
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

/** Ask the gateway, and let `use` make the next state of what it answers. */
async function take_answer(mine, method, params, use) {
  try {
    const result = await mine.call(method, params);
    if (mine !== client) return;
    digest();
    state = use(result);
    schedule();
  } catch (error) {
    if (!(error instanceof CallError || error instanceof NoAnswer)) throw error;
    // Not permitted, or cut: the page is poorer by it, not wrong.
  }
}

async function look_at_workers() {
  if (client.state.name !== "live") return;
  const mine = client;
  await take_answer(mine, "agent.list", { limit: LIMITS.agents }, ({ items }) => withAgents(state, items, mine.server_now()));
}

function by_creation(one, other) {
  return String(one.created_at).localeCompare(String(other.created_at));
}

// ---------------------------------------------------------------------- drawing

function schedule() {
  // Hidden pages get no frames; the state is kept up to date all the same.
  frame ??= document.hidden ? setTimeout(draw, 1000) : requestAnimationFrame(draw);
}

function draw() {
  frame = null;
  digest();
  for (const view of views) view.draw(state);
  const served = [...state.agents.values()].flatMap((worker) => worker.agents);
  const seen = [...state.tasks.values()].map((task) => task.agent_name);
  form.set_agents([...demo.agent_names(), ...served, ...seen].filter(Boolean));
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden || frame === null) return;
  clearTimeout(frame);
  cancelAnimationFrame(frame);
  frame = null;
  schedule();
});

function connection_changed(next) {
  digest();
  bar.draw(next);
  form.set_live(next.name === "live");
  if (next.name === "live") watch.look();
  document.documentElement.dataset.connection = next.name;
  const refused = next.name === "closed" && (next.code >= 4500 || next.error !== null);
  const reason = token ? "The token was not accepted. It may have expired." : "";
  sign_in.draw(refused && next.code !== 4501, reason);
  if (next.name === "waiting") announce("Connection lost. Reconnecting.");
  if (refused) announce("Not connected: a token is needed.");
}

function tell_missed(info) {
  digest();
  bar.tell_missed(info);
  announce(`Live again: ${missed_words(info)}.`);
}

function draw_identity() {
  who.draw({ user, session: client.session, with_token: Boolean(token) });
}

// ---------------------------------------------------------------------- for screen readers

let announcing = null;
let next_words = "";

function announce(words) {
  if (!words || words === next_words) return;
  next_words = words;
  announcing ??= setTimeout(() => {
    announcing = null;
    at("announcer").textContent = next_words;
    next_words = "";
  }, ANNOUNCE_EVERY_MS);
}

function announce_newest(events) {
  const told = events.findLast(({ type }) => ["agent_error", "request_rejected", "graceful_degradation", "system_recovered"].includes(type));
  if (!told) return;
  const who_failed = told.agent_name ? `${told.agent_name}: ` : "";
  announce(who_failed + sentence(told.user_message ?? told.message));
}

// ---------------------------------------------------------------------- what the user does

/** Start a task. Asked again over a cut with the same key, so that it is started once. */
async function ask(agent, question) {
  const params = { agent, input: { question }, idempotency_key: crypto.randomUUID?.() ?? `page-${Date.now()}-${Math.random()}` };
  for (let tries = 1; ; tries += 1) {
    try {
      const made = await client.call("task.create", params);
      questions.set(made.task_id, question);
      schedule_again(made.task_id);
      return made;
    } catch (error) {
      if (!(error instanceof NoAnswer) || tries >= ASK_TRIES || !(await live_again())) throw error;
    }
  }
}

async function retry(task) {
  const question = question_of(task);
  if (task.status === "lost") {
    await ask(task.agent_name, question);
    return;
  }
  const made = await client.call("task.retry", { task_id: task.task_id });
  if (question && made?.task_id && made.task_id !== task.task_id) questions.set(made.task_id, question);
}

async function cancel({ task_id }) {
  await client.call("task.cancel", { task_id });
}

function question_of(task) {
  return questions.get(task.task_id) ?? questions.get(task.retry_of) ?? "";
}

/** The first events may be here before the answer to `task.create`: draw that card again. */
function schedule_again(task_id) {
  const task = state.tasks.get(task_id);
  if (!task) return;
  state = { ...state, tasks: new Map(state.tasks).set(task_id, { ...task }) };
  schedule();
}

function live_again() {
  return new Promise((resolve) => {
    if (client.state.name === "live") return resolve(true);
    const stop = client.on("state", ({ name }) => {
      if (name !== "live" && name !== "closed") return;
      stop();
      resolve(name === "live");
    });
  });
}

function switch_to(name) {
  user = name;
  address.searchParams.delete("operator");
  address.searchParams.delete("user");
  if (user === null) address.searchParams.set("operator", "");
  else if (user !== "demo") address.searchParams.set("user", user);
  history.replaceState(null, "", address.href.replace("operator=", "operator"));
  begin();
}

// ---------------------------------------------------------------------- at the edge

function fetch_with_token(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  return fetch(new URL(path, document.baseURI), { ...options, headers });
}

function session_get(key) {
  try {
    return sessionStorage.getItem(key) ?? "";
  } catch {
    return ""; // storage refused by the browser's settings
  }
}

function session_set(key, value) {
  try {
    sessionStorage.setItem(key, value);
  } catch {
    // Then it lasts until the page is reloaded.
  }
}

begin();
demo.start().then((there) => there && schedule());
