/**
 * The card of one task: what is asked, how far it is, what went wrong, what happens next, and what
 * a user can do.
 */

import { ENDED } from "../client/gateway-client.js";
import { h, icon, scrollIfLong, setAttribute, setIcon, setText, show } from "./dom.js";
import { once, refusalNote } from "./refusals.js";
import { answerOf, keptPart, streamedText } from "./task-output.js";
import { attemptList, troubleBox } from "./task-trouble.js";
import {
  HELD_STATUS,
  TASK_STATUS,
  clock,
  duration,
  lookup,
  shortId,
} from "./words.js";

const ENDED_WITHOUT_ANSWER = new Set(["failed", "dead_lettered", "cancelled", "lost"]);

/**
 * @param {object} actions retry(task), cancel(task), partial(task) (promises), questionOf(task),
 *   ownerOf(task)
 */
export function taskCard(actions) {
  let task = null;
  const name = h("h3");
  const chipIcon = h("span.slot");
  const chipText = h("span");
  const chip = h("span.chip", {}, chipIcon, chipText);
  const badge = h("span.chip.badge.warn", { hidden: true });
  const question = h("p.question", { hidden: true });
  const progress = progressBar();
  const trouble = troubleBox();
  const passedWords = h("span");
  const passedOn = h("p.passed-on", { hidden: true }, icon("retry"), passedWords);
  const attempts = attemptList();
  const text = streamedText();
  const result = h("div.result", { hidden: true });
  const kept = keptPart(actions);
  const link = h("a.task-link");
  const meta = h("span");
  const refusal = refusalNote();
  const retry = h("button", { type: "button" }, icon("retry"), h("span"));
  const cancel = h("button.plain", { type: "button" }, "Cancel");
  retry.addEventListener("click", () => act(retry, actions.retry));
  cancel.addEventListener("click", () => act(cancel, actions.cancel));
  const element = h(
    "article.card.task",
    { tabindex: "-1" },
    h("header.task-head", {}, h("div.task-title", {}, name, badge), chip),
    question,
    progress.element,
    trouble.element,
    passedOn,
    attempts.element,
    result,
    text.element,
    kept.element,
    h("footer.task-foot", {}, h("span.meta", {}, link, meta), h("div.actions", {}, cancel, retry)),
    refusal.element,
  );

  function act(button, action) {
    once(button, () => refusal.tell(() => action(task)));
  }

  function offer(button, visible) {
    // A button that goes away must not take the keyboard's place on the page with it.
    if (!visible && document.activeElement === button) element.focus();
    show(button, visible);
  }

  function updateHead() {
    const ended = ENDED.has(task.status);
    const isHeld = task.waiting !== null && !ended;
    const [words, shape, tone] = isHeld ? HELD_STATUS : lookup(TASK_STATUS, task.status);
    element.dataset.status = task.status;
    element.dataset.task = task.task_id;
    setAttribute(element, "aria-label", `${task.agent_name ?? "Task"}: ${words}`);
    setText(name, task.agent_name ?? "Task");
    chip.className = `chip ${tone}`;
    setIcon(chipIcon, shape);
    setText(chipText, words);
    show(badge, task.degraded || (task.fallback && !ended));
    setText(badge, ended ? "Stand-in answer" : "Stand-in at work");
    const asked = actions.questionOf(task);
    show(question, Boolean(asked));
    setText(question, asked);
  }

  function updateButtons() {
    const { status, error } = task;
    offer(cancel, !ENDED.has(status) && status !== "unknown");
    const again = ENDED_WITHOUT_ANSWER.has(status);
    const may = error?.retry_possible !== false || status === "cancelled";
    const isKnown = status !== "lost" || Boolean(actions.questionOf(task));
    // Who asks for it now gets it, also while the service behind it has asked to wait.
    const isWaiting = status === "waiting" && ["upstream", undefined].includes(task.waiting?.for);
    offer(retry, isWaiting || (again && may && isKnown));
    setText(retry.lastChild, again ? "Ask again" : "Retry now");
    retry.className = status === "waiting" ? "primary" : "";
  }

  function update({ task: next, worker }) {
    task = next;
    updateHead();
    progress.update(task);
    trouble.update(task);
    show(passedOn, task.reassigned !== null && task.status === "running");
    setText(passedWords, passedOnWords(task));
    attempts.update(task, !trouble.element.hidden);
    const answer = answerOf(task);
    show(result, answer !== null);
    setText(result, answer);
    scrollIfLong(result, answer ?? "");
    text.update(task, answer);
    kept.update(task);
    setAttribute(link, "href", `#task=${encodeURIComponent(task.task_id)}`);
    setText(link, `History of ${shortId(task.task_id)}`);
    setText(meta, metaOf(task, worker, actions.ownerOf(task)));
    updateButtons();
  }
  return { element, update };
}

function progressBar() {
  const bar = h("progress", { max: "1", "aria-label": "Progress" });
  const step = h("span.step");
  const percent = h("span.percent");
  const line = h("div.progress-line", {}, step, percent);
  const element = h("div.progress", { hidden: true }, line, bar);

  function update(task) {
    show(element, !ENDED.has(task.status) && task.progress !== null);
    if (task.progress !== null) {
      if (bar.value !== task.progress) bar.value = task.progress;
      setText(percent, `${Math.round(task.progress * 100)} %`);
    }
    setText(step, task.step ?? "");
  }
  return { element, update };
}

function passedOnWords({ preserved }) {
  const isKept =
    preserved !== null && (preserved.text !== "" || Object.keys(preserved.steps).length > 0);
  return isKept
    ? "The worker was lost. Another one continues from what was saved."
    : "The worker was lost. Another one does it from the beginning.";
}

function metaOf(task, worker, owner) {
  const { status, duration: tookS, max_attempts: maxAttempts, cleanup } = task;
  const parts = [];
  if (owner) parts.push(`for ${owner}`);
  if (worker) parts.push(`${status === "running" ? "on worker" : "worker"} ${worker}`);
  if (task.submitted_at) parts.push(clock(task.submitted_at));
  if (tookS !== null) parts.push(tookS < 0.1 ? "took under 0.1 s" : `took ${duration(tookS)}`);
  if (task.degraded && task.served_by) parts.push(`by ${task.served_by}`);
  if (status === "succeeded" && task.attempts.length > 1) {
    parts.push(`${task.attempts.length} attempts`);
  } else if (task.attempt > 1 && maxAttempts && !ENDED.has(status)) {
    parts.push(`attempt ${Math.min(task.attempt, maxAttempts)} of ${maxAttempts}`);
  }
  if (cleanup?.status === "success") parts.push("cleaned up");
  else if (cleanup) parts.push(`clean-up ${cleanup.status}`);
  if (task.retry_of) parts.push(`asked again after ${shortId(task.retry_of)}`);
  return parts.map((part) => ` · ${part}`).join("");
}
