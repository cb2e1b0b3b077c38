/**
 * The page: it gives the client's events to the store, and the store's state to the views.
 *
 * It decides nothing about tasks. Events go in, a state comes out, and at the next frame the
 * views draw what differs.
 */

import {
  GatewayClient,
  fromSnapshot,
  topicsOf,
  withDegradation,
} from "../client/gateway-client.js";
import { taskActions } from "./actions.js";
import { announcer } from "./announcer.js";
import { askForm } from "./ask-form.js";
import { connectionBar, missedWords } from "./connection-bar.js";
import { countBy } from "./countdown.js";
import { demoPanel } from "./demo-panel.js";
import { domains } from "./domains.js";
import { eventList } from "./event-list.js";
import { figures } from "./figures.js";
import { banners, modeSign } from "./gateway-mode.js";
import { fillIn, lookAtWorkers, taskHistory } from "./history.js";
import { notices } from "./notices.js";
import { breakers } from "./panels.js";
import { operatorPart } from "./operator.js";
import { people } from "./people.js";
import { signInForm } from "./sign-in.js";
import { stateStore } from "./store.js";
import { taskList } from "./task-list.js";
import { trail } from "./trail.js";
import { upstreams } from "./upstreams.js";
import { socketUrl, visitor } from "./visitor.js";
import { workerWatch } from "./worker-watch.js";
import { workers } from "./workers.js";

const HIDDEN_FRAME_MS = 1000;
/** After these the demonstration's upstream may have been called. */
const CALLS_UPSTREAM = new Set(["task_started", "agent_error", "task_finished"]);
/** The gateway refused what this page says, and no token would help. */
const NOT_UNDERSTOOD = 4501;

const at = (id) => document.getElementById(id);

const me = visitor();
const store = stateStore({ changed: schedule, digested });
let link = null; // {client, store, isCurrent()} of the newest client
let frame = null;

// ---------------------------------------------------------------------- views

const actions = taskActions({
  client: () => link.client,
  asked: drawAgain,
  isForAll,
});
const speaker = announcer(at("announcer"));
const bar = connectionBar(at("connection"), { reconnect: () => link.client.reconnectNow() });
const userField = people(at("identity"), {
  switchTo: (name) => {
    me.switchTo(name);
    begin();
  },
});
const signIn = signInForm(at("sign-in"), {
  signIn: (given) => {
    me.signIn(given);
    counts.forget();
    begin();
  },
});
const form = askForm(at("ask"), actions);
const demo = demoPanel(at("demo"), at("story"), { fetch: me.fetch, ask: actions.ask });
const counts = figures({ fetch: me.fetch, changed: schedule });
const operator = operatorPart(at, {
  link: () => link,
  isForAll,
  counts: () => counts.all,
  countAgain: () => counts.look(),
  changed: schedule,
});
const watch = workerWatch({
  look: () => Promise.all([lookAtWorkers(link), seesAll() && counts.look(), operator.look()]),
  any: () => store.state.agents.size > 0 || operator.may(),
});
const taskPlaces = { list: at("task-list"), more: at("tasks-more"), summary: at("tasks-summary") };
const story = trail(at("trail"), [at("ask-card"), at("set-aside"), at("tasks")], {
  load: (taskId) => taskHistory(link, taskId),
  actions,
  opened: schedule,
});
const views = [
  modeSign(at("mode")),
  banners(at("banners")),
  notices(at("notices"), at("tasks")),
  taskList(taskPlaces, actions),
  operator,
  breakers(at("breaker-list"), operator.breaker),
  domains(at("domains"), at("domain-list"), () => counts.domains, operator.breaker),
  upstreams(at("upstreams"), at("upstream-list"), () => counts.upstreams),
  workers(at("workers"), at("worker-list"), at("workers-summary")),
  eventList(at("event-view"), at("events-summary")),
  story,
];

// ---------------------------------------------------------------------- the client

function begin() {
  link?.client.close();
  bar.tellMissed(null);
  bar.forget();
  delete document.documentElement.dataset.stale;
  const client = new GatewayClient(socketUrl(), {
    token: me.token || undefined,
    user_id: (!me.token && me.user) || undefined,
    topics,
    client: "gateway-page/1",
  });
  const mine = { client, store, topics, isCurrent: () => link === mine };
  link = mine;
  store.reset();
  story.forget();
  operator.forget();
  const on = (name, listener) => client.on(name, (told) => mine.isCurrent() && listener(told));
  on("state", connectionChanged);
  on("session", drawIdentity);
  on("snapshot", takeSnapshot);
  on("missed", tellMissed);
  on("event", (event) => store.take(event));
  on("degradation", takeDegradation);
  countBy(() => client.serverNow());
  drawIdentity();
  client.start();
}

/** What is shown: everything, or what is told to one user, messages to it included. */
function topics(session) {
  const all = topicsOf(session);
  if (!all.includes("*")) return [...all, `recipient:${session.user_id}`];
  return me.user === null ? all : [`user:${me.user}`, `recipient:${me.user}`];
}

function isForAll() {
  return me.user === null && seesAll();
}

/** Whether the visitor may see everybody's tasks. Without a secret everyone may. */
function seesAll() {
  const { session } = link.client;
  return session !== null && (!me.token || topicsOf(session).includes("*"));
}

function takeSnapshot({ snapshot, epoch, offset }) {
  store.change((state) => fromSnapshot(snapshot, { epoch, offset }, state));
  fillIn(link, { epoch, offset });
  operator.open({ epoch, offset });
  story.open();
}

function takeDegradation(told) {
  store.digest();
  if (told && !store.state.degradation) speaker.say(told.user_message);
  store.change((state) => withDegradation(state, told));
}

function digested(events) {
  operator.heard(events);
  if (link.client.state.name !== "replaying") {
    speaker.sayNewest(events);
    watch.heard(events);
  }
  if (events.some(({ type }) => CALLS_UPSTREAM.has(type))) demo.stir();
}

// ---------------------------------------------------------------------- drawing

function schedule() {
  // Hidden pages get no frames; the state is kept up to date all the same.
  frame ??= document.hidden ? setTimeout(draw, HIDDEN_FRAME_MS) : requestAnimationFrame(draw);
}

function draw() {
  frame = null;
  store.digest();
  const { state } = store;
  for (const view of views) view.draw(state);
  const served = [...state.agents.values()].flatMap((worker) => worker.agents);
  const seen = [...state.tasks.values()].map((task) => task.agent_name);
  form.setAgents([...demo.agentNames(), ...served, ...seen, ...counts.agents].filter(Boolean));
  const reported = [...state.reports.values()].map(({ event }) => event);
  const owners = [...state.tasks.values(), ...reported].map((one) => one.user_id);
  userField.offer([...owners, ...counts.users]);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden || frame === null) return;
  clearTimeout(frame);
  cancelAnimationFrame(frame);
  frame = null;
  schedule();
});

/** Draw the card of a task again: its first events may come before the answer to the question. */
function drawAgain(taskId) {
  const task = store.state.tasks.get(taskId);
  if (!task) return;
  store.change((state) => ({ ...state, tasks: new Map(state.tasks).set(taskId, { ...task }) }));
}

function connectionChanged(next) {
  store.digest();
  bar.draw(next);
  form.setLive(next.name === "live");
  if (next.name === "live") {
    watch.look();
    operator.live();
  }
  const { dataset } = document.documentElement;
  if (next.name === "live") delete dataset.stale;
  // What was live once and is not now may have changed since.
  else if (dataset.connection === "live") dataset.stale = "";
  dataset.connection = next.name;
  const refused = next.name === "closed" && (next.code >= 4500 || next.error !== null);
  const reason = me.token ? "The token was not accepted. It may have expired." : "";
  signIn.draw(refused && next.code !== NOT_UNDERSTOOD, reason);
  if (next.name === "waiting") speaker.say("Connection lost. Reconnecting.");
  if (refused) speaker.say("Not connected: a token is needed.");
}

function tellMissed(info) {
  store.digest();
  bar.tellMissed(info);
  speaker.say(`Live again: ${missedWords(info)}.`);
}

function drawIdentity() {
  const { session } = link.client;
  const mayPick = session ? seesAll() : !me.token;
  userField.draw({ user: me.user, session, mayPick });
}

at("unscripted").remove();
begin();
demo.start().then((there) => there && schedule());
