/** One card per task: what is asked, how far it is, what went wrong, what happens next, what is kept. */

import { countdown } from "./countdown.js";
import { grow_text, h, icon, keyed, set_attribute, set_icon, set_text, show } from "./dom.js";
import { ENDED } from "../client/gateway-client.js";
import {
  END_REASON, STRATEGY, TASK_STATUS, action_words, clock, count, duration, lookup, refusal_words, sentence, short_id,
} from "./words.js";

const SHOWN_AT_FIRST = 40;
const SHOWN_MORE = 100;

/**
 * @param {object} page elements: list, more, summary
 * @param {object} actions retry(task), cancel(task), partial(task) (promises), question_of(task)
 */
export function task_cards(page, actions) {
  let shown = SHOWN_AT_FIRST;
  let last = null;
  const more = h("button.plain", { type: "button", hidden: true, onclick: () => ((shown += SHOWN_MORE), draw(last)) });
  page.more.append(more);
  const nothing = h("div.empty", {}, h("p", {}, "No tasks yet. Ask an agent something, and watch it here."));
  page.list.before(nothing);

  function draw(state) {
    last = state;
    // Not in the map's order: what a snapshot left out comes to it later.
    const newest_first = [...state.tasks.values()].reverse().sort(by_submission);
    const items = newest_first.slice(0, shown).map((task) => with_worker(task, state.agents));
    keyed(page.list, items, ({ task }) => task.task_id, () => card(actions));
    const hidden = newest_first.length - shown;
    show(more, hidden > 0);
    set_text(more, `Show older tasks (${hidden})`);
    show(nothing, newest_first.length === 0);
    set_text(page.summary, summary(state));
  }
  return { draw };
}

const paired = new WeakMap(); // task → {task, worker}, the same object while both are the same

/** `worker`: what the worker is called that has the task, "" when no worker that we know of has. */
function with_worker(task, agents) {
  const known = agents.get(task.agent_id);
  const worker = known ? `${known.handle ?? "worker"} ${short_id(known.agent_id)}` : "";
  const pair = paired.get(task);
  if (pair?.worker === worker) return pair;
  const next = { task, worker };
  paired.set(task, next);
  return next;
}

function by_submission(one, other) {
  const [a, b] = [one.submitted_at ?? "", other.submitted_at ?? ""];
  return a < b ? 1 : a > b ? -1 : 0;
}

function summary(state) {
  const many = { working: 0, waiting: 0, done: 0, failed: 0 };
  for (const { status } of state.tasks.values()) {
    if (status === "running" || status === "pending") many.working += 1;
    else if (status === "waiting") many.waiting += 1;
    else if (status === "succeeded") many.done += 1;
    else if (status === "failed" || status === "dead_lettered" || status === "lost") many.failed += 1;
  }
  const parts = [];
  if (many.working) parts.push(`${many.working} working`);
  if (many.waiting) parts.push(`${many.waiting} trying again`);
  if (many.done) parts.push(`${many.done} done`);
  if (many.failed) parts.push(`${many.failed} failed`);
  if (state.dropped.tasks) parts.push(`${state.dropped.tasks} older not kept here`);
  return parts.join(" · ");
}

function card(actions) {
  let task = null;
  const name = h("h3");
  const chip_icon = h("span.slot");
  const chip_text = h("span");
  const chip = h("span.chip", {}, chip_icon, chip_text);
  const badge = h("span.chip.badge.warn", { hidden: true });
  const question = h("p.question", { hidden: true });

  const bar = h("progress", { max: "1", "aria-label": "Progress" });
  const step = h("span.step");
  const percent = h("span.percent");
  const progress = h("div.progress", { hidden: true }, h("div.progress-line", {}, step, percent), bar);

  const trouble = trouble_box();
  const passed_words = h("span");
  const passed_on = h("p.passed-on", { hidden: true }, icon("retry"), passed_words);
  const attempts = h("ol.attempts", { hidden: true, "aria-label": "Attempts" });
  const text = streamed_text();
  const result = h("div.result", { hidden: true });
  const kept = kept_part(actions);

  const meta = h("span.meta");
  const note = h("p.note", { role: "status", hidden: true });
  const retry = h("button", { type: "button", onclick: () => act(retry, actions.retry) }, icon("retry"), h("span"));
  const cancel = h("button.plain", { type: "button", onclick: () => act(cancel, actions.cancel) }, "Cancel");
  const element = h(
    "article.card.task",
    { tabindex: "-1" },
    h("header.task-head", {}, h("div.task-title", {}, name, badge), chip),
    question, progress, trouble.element, passed_on, attempts, result, text.element, kept.element,
    h("footer.task-foot", {}, meta, h("div.actions", {}, cancel, retry)),
    note,
  );

  async function act(button, action) {
    // Not `disabled`, which would take the keyboard's place on the page away.
    if (button.ariaDisabled === "true") return;
    button.ariaDisabled = "true";
    show(note, false);
    try {
      await action(task);
    } catch (error) {
      set_text(note, refusal_words(error));
      show(note, true);
    } finally {
      button.ariaDisabled = null;
    }
  }

  function offer(button, visible) {
    // A button that goes away must not take the keyboard's place on the page with it.
    if (!visible && document.activeElement === button) element.focus();
    show(button, visible);
  }

  function update({ task: next, worker }) {
    task = next;
    const [words, shape, tone] = lookup(TASK_STATUS, task.status);
    const ended = ENDED.has(task.status);
    element.dataset.status = task.status;
    element.dataset.task = task.task_id;
    set_attribute(element, "aria-label", `${task.agent_name ?? "Task"}: ${words}`);
    set_text(name, task.agent_name ?? "Task");
    chip.className = `chip ${tone}`;
    set_icon(chip_icon, shape);
    set_text(chip_text, words);

    show(badge, task.degraded || (task.fallback && !ended));
    set_text(badge, ended ? "Stand-in answer" : "Stand-in at work");
    const asked = actions.question_of(task);
    show(question, Boolean(asked));
    set_text(question, asked);

    show(progress, !ended && task.progress !== null);
    if (task.progress !== null) {
      if (bar.value !== task.progress) bar.value = task.progress;
      set_text(percent, `${Math.round(task.progress * 100)} %`);
    }
    set_text(step, task.step ?? "");

    trouble.update(task);
    show(passed_on, task.reassigned !== null && task.status === "running");
    set_text(passed_words, passed_on_words(task));
    // A single failed attempt is told by the box above; the list begins with the second.
    const tells = task.attempts.length > 1 || (task.attempts.some((one) => one.error) && trouble.element.hidden);
    show(attempts, tells);
    if (tells) keyed(attempts, task.attempts, (one) => `${one.attempt} ${one.mode} ${one.started_at}`, attempt_line);
    attempts.classList.toggle("newest-told", !trouble.element.hidden);

    const answer = answer_of(task);
    show(result, answer !== null);
    if (answer !== null) set_text(result, answer);
    text.update(task, answer);
    kept.update(task);

    set_text(meta, meta_of(task, worker));
    offer(cancel, !ended && task.status !== "unknown");
    const again = ["failed", "dead_lettered", "cancelled", "lost"].includes(task.status);
    const may = task.error?.retry_possible !== false || task.status === "cancelled";
    offer(retry, task.status === "waiting" || (again && may && (task.status !== "lost" || Boolean(asked))));
    set_text(retry.lastChild, again ? "Ask again" : "Retry now");
    retry.className = task.status === "waiting" ? "primary" : "";
  }
  return { element, update };
}

/** The newest failure in the user's words, and what happens or can be done. */
function trouble_box() {
  const said = h("p.said");
  const todo = h("span.todo");
  const when = h("span.when");
  const element = h("div.trouble", { hidden: true }, icon("warning"), h("div", {}, said, h("p.next", {}, todo, when)));

  function update(task) {
    const waiting = task.status === "waiting";
    const failed = ["failed", "dead_lettered", "lost"].includes(task.status);
    show(element, waiting || failed);
    if (!waiting && !failed) return;
    element.classList.toggle("bad", failed);
    if (task.status === "lost") {
      set_text(said, "The gateway was restarted and does not know this task any more.");
      set_text(todo, "Ask again");
    } else {
      const { error } = task;
      const end = END_REASON.get(task.reason) ?? END_REASON.get(task.dead_letter) ?? "";
      set_text(said, error?.user_message ?? (end || (waiting ? "Waiting for a worker." : "It could not be done.")));
      const action = error ? action_words({ ...error, will_retry: waiting }) : "";
      set_text(todo, action);
    }
    show(todo, Boolean(todo.textContent));
    const at = waiting ? task.next?.at : null;
    show(when, Boolean(at));
    const { strategy, attempt } = task.next ?? {};
    const what = strategy === "exponential_backoff" || !strategy
      ? attempt ? `Attempt ${attempt}${task.max_attempts ? ` of ${task.max_attempts}` : ""}` : "The next try"
      : sentence(STRATEGY.get(strategy) ?? strategy).slice(0, -1);
    countdown(when, at ?? null, (left_s) => (left_s > 0 ? `${what} starts in ${duration(left_s)}` : `${what} starts as soon as it can`));
  }
  return { element, update };
}

function attempt_line() {
  const mark = h("span.slot");
  const title = h("span.attempt-title");
  const took = h("span.attempt-time");
  const why = h("span.attempt-why");
  const element = h("li", {}, mark, h("div", {}, h("div.attempt-line", {}, title, took), why));

  function update(one) {
    const [shape, tone, words] =
      one.status === "failed" ? ["cross", "bad", "failed"]
      : one.status === "succeeded" ? ["check", "good", "answered"]
      : ["spinner", "busy", "working"];
    element.className = tone;
    set_icon(mark, shape);
    set_text(title, `${one.mode === "fallback" ? `Stand-in${one.served_by ? ` (${one.served_by})` : ""}` : `Attempt ${one.attempt}`} ${words}`);
    const took_s = one.started_at && one.ended_at ? (Date.parse(one.ended_at) - Date.parse(one.started_at)) / 1000 : null;
    set_text(took, took_s === null ? "" : `after ${duration(took_s)}`);
    // What went wrong, without the promise that followed it, which time has overtaken.
    set_text(why, one.error?.user_message?.match(/^.*?[.!?](?=\s|$)/s)?.[0] ?? one.error?.user_message ?? "");
  }
  return { element, update };
}

/** The text as it streams; where an attempt continued after another, the seam is marked. */
function streamed_text() {
  const parts = h("div.stream");
  const cut = h("p.seam", { hidden: true });
  const title = h("summary", {}, "What was written on the way");
  const folded = h("details", { hidden: true }, title);
  const element = h("div.text", { hidden: true }, cut, parts, folded);
  let following = true;
  parts.addEventListener("scroll", () => {
    following = parts.scrollHeight - parts.scrollTop - parts.clientHeight < 24;
  }, { passive: true });

  function update(task, answer) {
    const whole = task.text.map((part) => part.text).join("");
    const said_again = answer !== null && answer.includes(whole.trim());
    show(element, task.text.length > 0 && !said_again);
    if (element.hidden) return;
    const fold = answer !== null;
    show(folded, fold);
    const place = fold ? folded : element;
    if (parts.parentNode !== place) place.append(parts);
    show(cut, task.text_dropped > 0);
    set_text(cut, `${count(task.text_dropped, "character")} before this are not shown`);
    const newest = task.text.at(-1);
    const items = task.text.map((part) => ({ part, newest: part === newest, open: !ENDED.has(task.status), attempt: task.attempt }));
    keyed(parts, items, ({ part }) => `${part.attempt} ${part.fallback}`, text_part);
    if (following) parts.scrollTop = parts.scrollHeight;
  }
  return { element, update };
}

function text_part() {
  const body = h("p.piece");
  const seam = h("p.seam", { hidden: true });
  const element = h("div.part", {}, body, seam);
  function update({ part, newest, open, attempt }) {
    grow_text(body, part.text);
    const earlier = !newest || (open && attempt > part.attempt);
    element.classList.toggle("earlier", earlier);
    show(seam, earlier);
    set_text(seam, part.fallback ? "up to here by the stand-in" : `saved from attempt ${part.attempt}`);
  }
  return { element, update };
}

/** What is preserved of failed attempts, and what is not. */
function kept_part(actions) {
  const saved = h("span");
  const lost_names = h("span");
  const lost = h("span.lost", {}, icon("cross"), lost_names);
  const open = h("details", { hidden: true }, h("summary", {}, "Show what is saved"));
  const body = h("div.kept-body");
  open.append(body);
  const element = h("div.kept", { hidden: true }, h("p.kept-line", {}, h("span", {}, icon("saved"), saved), lost), open);
  let task = null;
  let filled = null;
  open.addEventListener("toggle", fill);

  async function fill() {
    if (!open.open || filled === task.preserved) return;
    filled = task.preserved;
    let { steps, text } = filled;
    if (!filled.whole) {
      try {
        const whole = await actions.partial(task);
        steps = whole.preserved_data;
        text = whole.preserved_text;
      } catch (error) {
        body.replaceChildren(h("p.note", {}, refusal_words(error)));
        filled = null;
        return;
      }
    }
    const rows = Object.entries(steps).map(([step, data]) => h("div", {}, h("dt", {}, step), h("dd", {}, shown(data))));
    if (text) rows.push(h("div", {}, h("dt", {}, "Text so far"), h("dd", {}, text)));
    body.replaceChildren(h("dl", {}, rows));
  }

  function update(next) {
    task = next;
    const { preserved } = task;
    // Once all is done, what was saved on the way is in the result; before a failure it is just output.
    show(element, preserved !== null && task.error !== null && task.status !== "succeeded");
    if (element.hidden) return;
    const steps = Object.keys(preserved.steps);
    const names = [...steps, ...(preserved.text ? ["the text so far"] : [])];
    set_text(saved, `Saved: ${names.length > 0 ? names.join(", ") : "what was done so far"}`);
    show(lost, preserved.lost.length > 0);
    set_text(lost_names, `Lost: ${preserved.lost.map((step) => shown(step)).join(", ")}`);
    show(open, true);
    if (open.open) fill();
  }
  return { element, update };
}

function shown(data) {
  return typeof data === "string" ? data : (JSON.stringify(data, null, 2) ?? "");
}

function answer_of(task) {
  const { result } = task;
  if (result === undefined || result === null || !ENDED.has(task.status)) return null;
  if (typeof result === "object") {
    const values = Object.values(result);
    if (values.length === 1 && typeof values[0] === "string") return values[0];
  }
  return shown(result);
}

function passed_on_words({ preserved }) {
  const kept = preserved !== null && (preserved.text !== "" || Object.keys(preserved.steps).length > 0);
  return kept
    ? "The worker was lost. Another one continues from what was saved."
    : "The worker was lost. Another one does it from the beginning.";
}

function meta_of(task, worker) {
  const parts = [short_id(task.task_id)];
  if (worker) parts.push(`${task.status === "running" ? "on worker" : "worker"} ${worker}`);
  if (task.submitted_at) parts.push(clock(task.submitted_at));
  if (task.duration !== null) parts.push(task.duration < 0.1 ? "took under 0.1 s" : `took ${duration(task.duration)}`);
  if (task.degraded && task.served_by) parts.push(`by ${task.served_by}`);
  if (task.status === "succeeded" && task.attempts.length > 1) parts.push(`${task.attempts.length} attempts`);
  else if (task.attempt > 1 && task.max_attempts && !ENDED.has(task.status)) parts.push(`attempt ${Math.min(task.attempt, task.max_attempts)} of ${task.max_attempts}`);
  if (task.cleanup) parts.push(task.cleanup.status === "success" ? "cleaned up" : `clean-up ${task.cleanup.status}`);
  if (task.retry_of) parts.push(`asked again after ${short_id(task.retry_of)}`);
  return parts.join(" · ");
}
