/** What went wrong with a task: the box with the newest failure, and the list of its attempts. */

import { countdown } from "./countdown.js";
import { h, icon, keyed, setIcon, setText, show } from "./dom.js";
import { END_REASON, STRATEGY, WAITS, actionWords, duration, sentence } from "./words.js";

const FAILED = new Set(["failed", "dead_lettered", "lost"]);
const LOST_WORDS = "The gateway was restarted and does not know this task any more.";

/** The newest failure in the user's words, and what happens next or can be done. */
export function troubleBox() {
  const said = h("p.said");
  const todo = h("span.todo");
  const when = h("span.when");
  const words = h("div", {}, said, h("p.next", {}, todo, when));
  const element = h("div.trouble", { hidden: true }, icon("warning"), words);

  function update(task) {
    const waiting = task.status === "waiting";
    const failed = FAILED.has(task.status);
    const held = failed ? null : task.waiting;
    show(element, waiting || failed || held !== null);
    if (!waiting && !failed && held === null) return;
    element.classList.toggle("bad", failed);
    if (held !== null) {
      updateHeld(held, waiting ? task.error : null);
      return;
    }
    if (task.status === "lost") {
      setText(said, LOST_WORDS);
      setText(todo, "Ask again");
    } else {
      const { error } = task;
      setText(said, error?.user_message ?? endWords(task));
      setText(todo, error ? actionWords({ ...error, will_retry: waiting }) : "");
    }
    show(todo, Boolean(todo.textContent));
    const at = waiting ? task.next?.at : null;
    show(when, Boolean(at));
    const what = tryWords(task);
    countdown(when, at ?? null, (leftS) =>
      leftS > 0 ? `${what} starts in ${duration(leftS)}` : `${what} starts as soon as it can`,
    );
  }

  /** Tell why a task does not move; the time of a try that was announced before is void. */
  function updateHeld({ for: waitsFor, until, similar }, error) {
    const [why, next] = WAITS.get(waitsFor) ?? [sentence(`It waits for ${waitsFor}`), "Goes on"];
    setText(said, [firstSentence(error?.user_message ?? ""), why].filter(Boolean).join(" "));
    setText(todo, similar.length > 0 ? `Did you mean ${similar.join(", ")}?` : "");
    show(todo, similar.length > 0);
    show(when, until !== null);
    countdown(when, until, (leftS) =>
      leftS > 0 ? `${next} in ${duration(leftS)}` : `${next} as soon as it can be`,
    );
  }
  return { element, update };
}

/** Why a task without a failure waits or has ended. */
function endWords({ reason, dead_letter: deadLetter, status }) {
  const known = END_REASON.get(reason) ?? END_REASON.get(deadLetter);
  if (known) return known;
  return status === "waiting" ? "Waiting for a worker." : "It could not be done.";
}

/** What the next try is: an attempt with its number, or another one that takes over. */
function tryWords({ next, max_attempts: maxAttempts }) {
  const { strategy, attempt } = next ?? {};
  if (strategy && strategy !== "exponential_backoff") {
    return sentence(STRATEGY.get(strategy) ?? strategy).slice(0, -1);
  }
  if (!attempt) return "The next try";
  return maxAttempts ? `Attempt ${attempt} of ${maxAttempts}` : `Attempt ${attempt}`;
}

/** The attempts of a task, one line each. */
export function attemptList() {
  const element = h("ol.attempts", { hidden: true, "aria-label": "Attempts" });

  /** `isTold`: the newest failure stands in the box above. */
  function update({ attempts }, isTold) {
    // A single failed attempt is told by the box; the list begins with the second.
    const isShown = attempts.length > 1 || (attempts.some((one) => one.error) && !isTold);
    show(element, isShown);
    if (isShown) keyed(element, attempts, keyOf, attemptLine);
    element.classList.toggle("newest-told", isTold);
  }
  return { element, update };
}

function keyOf(one) {
  return `${one.attempt} ${one.mode} ${one.started_at}`;
}

const ATTEMPT_STATUS = {
  failed: ["cross", "bad", "failed"],
  succeeded: ["check", "good", "answered"],
};
const AT_WORK = ["spinner", "busy", "working"];

function attemptLine() {
  const mark = h("span.slot");
  const title = h("span.attempt-title");
  const took = h("span.attempt-time");
  const why = h("span.attempt-why");
  const element = h("li", {}, mark, h("div", {}, h("div.attempt-line", {}, title, took), why));

  function update(one) {
    const [shape, tone, words] = ATTEMPT_STATUS[one.status] ?? AT_WORK;
    element.className = tone;
    setIcon(mark, shape);
    setText(title, `${attemptName(one)} ${words}`);
    const isTimed = one.started_at && one.ended_at;
    const tookS = isTimed ? (Date.parse(one.ended_at) - Date.parse(one.started_at)) / 1000 : null;
    setText(took, tookS === null ? "" : `after ${duration(tookS)}`);
    setText(why, firstSentence(one.error?.user_message ?? ""));
  }
  return { element, update };
}

function attemptName({ mode, attempt, served_by: servedBy }) {
  if (mode !== "fallback") return `Attempt ${attempt}`;
  return servedBy ? `Stand-in (${servedBy})` : "Stand-in";
}

/** What went wrong, without the promise that follows it: time has overtaken that. */
function firstSentence(text) {
  return text.match(/^.*?[.!?](?=\s|$)/s)?.[0] ?? text;
}
