/** One dead letter: why it was given up, what it holds, and what can be done with it. */

import { askedTwice } from "./asked-twice.js";
import { countUp } from "./countdown.js";
import { h, icon, setAttribute, setIcon, setText, show } from "./dom.js";
import { once, refusalNote } from "./refusals.js";
import {
  GIVEN_UP,
  ago,
  clock,
  count,
  dataWords,
  sentence,
  shortId,
} from "./words.js";

/** How the gateway's own messages begin: with the agent, the attempt and the code. */
const SAID_BEFORE = /^agent \S+, attempt \d+: \w+( \(\w+\))?(, )?/i;

/** @param {object} book retry(letter), discard(letter): promises that may be rejected */
export function letterRow(book) {
  let letter = null;
  const mark = h("span.slot");
  const name = h("h3");
  const id = h("span.row-id");
  const why = h("p.letter-why");
  const age = h("span");
  const meta = h("span");
  const history = h("a.task-link", {}, "History");
  const again = h("a.task-link");
  const refusal = refusalNote();
  const retryWords = h("span", {}, "Retry");
  const retry = h("button", { type: "button", onclick: run }, icon("retry"), retryWords);
  const discard = askedTwice({
    label: "Discard",
    shape: "cross",
    question: () => "Discard it for good?",
    yes: "Discard",
    act: () => tell(book.discard),
  });
  const opened = h("details.letter-open", { ontoggle: fill }, h("summary", {}, "Payload, errors"));
  const element = h(
    "li.letter",
    { tabindex: "-1" },
    mark,
    h(
      "div.letter-body",
      {},
      h("div.letter-title", {}, name, id),
      why,
      h("p.quiet", {}, age, meta, " · ", history, again),
      refusal.element,
    ),
    h("div.letter-actions", {}, retry, discard.element),
    opened,
  );

  function run() {
    once(retry, () => tell(book.retry));
  }

  function tell(action) {
    return refusal.tell(() => action(letter));
  }

  /** Written when it is opened for the first time: most letters never are. */
  function fill() {
    if (!opened.open || opened.childElementCount > 1) return;
    const { input, errors } = letter;
    const payload = h("pre", { tabindex: "0", "aria-label": "Payload" }, dataWords(input));
    opened.append(
      h("p.detail-name", {}, "Payload"),
      payload,
      h("p.detail-name", {}, errors.length > 0 ? "Errors" : "No attempt has failed"),
      h("ol.letter-errors", {}, errors.map(errorLine)),
    );
  }

  function update(next) {
    const isOther = letter?.task_id !== next.task_id;
    letter = next;
    const { errors, attempts, reason, retried_as: madeId } = letter;
    const isOver = Boolean(madeId);
    element.className = `letter ${isOver ? "calm" : "bad"}`;
    element.dataset.letter = letter.task_id;
    element.dataset.retried = isOver;
    setIcon(mark, isOver ? "retry" : "archive");
    setText(name, letter.agent_name ?? "No agent");
    setText(id, shortId(letter.task_id));
    setText(why, whyWords(errors.at(-1), reason));
    if (isOther) countUp(age, letter.died_at, ago);
    const tries = attempts > 0 ? count(attempts, "attempt") : "never begun";
    setText(meta, ` · for ${letter.user_id} · ${tries}`);
    const which = `${letter.agent_name ?? ""} ${shortId(letter.task_id)}`;
    setAttribute(retry, "aria-label", `Retry ${which}`);
    discard.name(`Discard ${which}`);
    setAttribute(history, "href", `#task=${encodeURIComponent(letter.task_id)}`);
    setAttribute(history, "aria-label", `History of ${which}`);
    show(again, isOver);
    setText(again, isOver ? `Tried again as ${shortId(madeId)}` : "");
    if (isOver) setAttribute(again, "href", `#task=${encodeURIComponent(madeId)}`);
    if (isOver && document.activeElement === retry) element.focus();
    show(retry, !isOver);
  }
  return { element, update };
}

/** The newest error, and why no other attempt was made. */
function whyWords(error, reason) {
  const given = GIVEN_UP.get(reason) ?? sentence(reason.replaceAll("_", " "));
  if (!error) return given;
  const code = error.error_code.replaceAll("_", " ");
  const rest = restOf(error);
  return `${sentence(rest ? `${code}: ${rest}` : code)} ${given}`;
}

/** What a message says beside the code. */
function restOf({ message }) {
  return message.replace(SAID_BEFORE, "");
}

function errorLine(error) {
  const { attempt, error_code: code, at } = error;
  const title = h("b", {}, `Attempt ${attempt}: ${code.replaceAll("_", " ")}`);
  return h("li", {}, title, ` ${sentence(restOf(error))} `, h("time", { datetime: at }, clock(at)));
}
