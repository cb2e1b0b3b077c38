/** How it is right now, for operators: the queue, what nobody serves, what was given up. */

import { countdown } from "./countdown.js";
import { h, icon, keyed, setIcon, setText, show } from "./dom.js";
import { once, refusalNote } from "./refusals.js";
import { count, duration } from "./words.js";

/** From this share of its limit on the queue is worth a look. */
const QUEUE_FULL = 0.8;
const ROWS_MAX = 10;
const CLASSIFY = "Name it with @gateway.classify";

/**
 * Draw the counts in `place`. `counts()`: as `stats.get` has them, {} until they are known;
 * `callAgain(name)`: lets an upstream be called that has asked not to be.
 */
export function overview(place, counts, callAgain) {
  const list = h("ul.rows.overview", { tabindex: "-1" });
  place.append(list);
  let drawn = null;

  function draw() {
    const all = counts();
    if (all === drawn || !all.queue) return;
    drawn = all;
    const lines = [
      ...queueLines(all),
      ...lettersLines(all),
      ...heldLines(all),
      ...unknownLines(all),
    ];
    const had = list.contains(document.activeElement);
    keyed(list, lines, ({ key }) => key, (entry) => line(entry, callAgain));
    // A line that goes away with its button leaves the keyboard's place with the others.
    if (had && !list.contains(document.activeElement)) list.focus();
  }
  return { draw };
}

function queueLines({ queue, tasks }) {
  const { depth, limit, oldest_age: ageS } = queue;
  const oldest = ageS === null ? "" : `, the oldest for ${whole(ageS)}`;
  const isFull = depth >= QUEUE_FULL * limit;
  const { running, waiting } = tasks.by_status;
  const work = [`${running} running`, `${waiting} to be tried again`];
  const said = `${depth} of ${limit} wait${oldest} · ${work.join(" · ")}`;
  const first = { key: "queue", title: "Queue", said, ...(isFull ? WARN : GOOD) };
  const unserved = Object.entries(tasks.without_worker).slice(0, ROWS_MAX);
  const lines = unserved.map(([name, many]) => ({
    key: `unserved ${name}`,
    title: name,
    said: `${count(many, "task")} ${many === 1 ? "waits" : "wait"}: nobody serves it`,
    ...BAD,
  }));
  return [first, ...lines];
}

function lettersLines({ dead_letters: { total, last_hour: lately } }) {
  const said = `${lately} new in the last hour, ${total} in all`;
  const tone = lately > 0 ? BAD : GOOD;
  return [{ key: "letters", title: "Given up", said: total ? said : "nothing", ...tone }];
}

function heldLines({ held_upstreams: held }) {
  const names = Object.entries(held).slice(0, ROWS_MAX);
  return names.map(([name, until]) => ({
    key: `held ${name}`,
    title: `Upstream ${name}`,
    said: "has asked not to be called",
    until,
    held: name,
    ...WARN,
  }));
}

function unknownLines({ unknown_exceptions: unknown }) {
  const most = Object.entries(unknown?.most ?? {}).slice(0, ROWS_MAX);
  return most.map(([name, many]) => ({
    key: `unknown ${name}`,
    title: name,
    said: `${count(many, "time")}; no table knows this exception. ${CLASSIFY}`,
    ...WARN,
  }));
}

const GOOD = { shape: "check", tone: "good" };
const WARN = { shape: "warning", tone: "warn" };
const BAD = { shape: "warning", tone: "bad" };

function line({ held = null }, callAgain) {
  const mark = h("span.slot");
  const title = h("span.row-name");
  const what = h("span.row-what");
  const until = h("span.row-extra");
  const element = h("li", {}, mark, h("div", {}, title, what, until));
  if (held !== null) element.append(callNow(held, callAgain));

  function update({ key, title: name, said, shape, tone, until: at = null }) {
    element.className = tone;
    element.dataset.line = key;
    setIcon(mark, shape);
    setText(title, name);
    setText(what, said);
    show(until, at !== null);
    countdown(until, at, (leftS) => (leftS > 0 ? `for another ${duration(leftS)}` : "no longer"));
  }
  return { element, update };
}

function callNow(upstream, callAgain) {
  const refusal = refusalNote();
  const onclick = () => once(button, () => refusal.tell(() => callAgain(upstream)));
  const label = { "aria-label": `Call ${upstream} now` };
  const button = h("button", { type: "button", onclick, ...label }, icon("retry"), "Call now");
  return h("div.row-actions", {}, button, refusal.element);
}

function whole(seconds) {
  return duration(Math.floor(seconds)).replace(".0", "");
}
