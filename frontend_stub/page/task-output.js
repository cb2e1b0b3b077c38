/** What a task has brought forth: the text on the way, what is preserved of it, and the answer. */

import { ENDED } from "../client/gateway-client.js";
import { growText, h, icon, keyed, scrollIfLong, setText, show } from "./dom.js";
import { count, dataWords, refusalWords } from "./words.js";

/** This near to its end, a text is followed as it grows. */
const FOLLOWING_PX = 24;

/** The answer of a task that has ended, as text; null when there is none. */
export function answerOf(task) {
  const { result } = task;
  if (result === undefined || result === null || !ENDED.has(task.status)) return null;
  if (typeof result === "object") {
    const values = Object.values(result);
    if (values.length === 1 && typeof values[0] === "string") return values[0];
  }
  return dataWords(result);
}

/** The text as it streams. Where an attempt continued after another, the seam is marked. */
export function streamedText() {
  const parts = h("div.stream");
  const cut = h("p.seam", { hidden: true });
  const title = h("summary", {}, "What was written on the way");
  const folded = h("details", { hidden: true }, title);
  const element = h("div.text", { hidden: true }, cut, parts, folded);
  let following = true;
  const scrolled = () => {
    const below = parts.scrollHeight - parts.scrollTop - parts.clientHeight;
    following = below < FOLLOWING_PX;
  };
  parts.addEventListener("scroll", scrolled, { passive: true });

  function update(task, answer) {
    const whole = task.text.map((part) => part.text).join("");
    const isRepeated = answer !== null && answer.includes(whole.trim());
    show(element, task.text.length > 0 && !isRepeated);
    if (element.hidden) return;
    scrollIfLong(parts, whole);
    const fold = answer !== null;
    show(folded, fold);
    const place = fold ? folded : element;
    if (parts.parentNode !== place) place.append(parts);
    show(cut, task.text_dropped > 0);
    setText(cut, `${count(task.text_dropped, "character")} before this are not shown`);
    const newest = task.text.at(-1);
    const open = !ENDED.has(task.status);
    const items = task.text.map((part) => ({
      part,
      newest: part === newest,
      open,
      attempt: task.attempt,
    }));
    keyed(parts, items, ({ part }) => `${part.attempt} ${part.fallback}`, textPart);
    if (following) parts.scrollTop = parts.scrollHeight;
  }
  return { element, update };
}

function textPart() {
  const body = h("p.piece");
  const seam = h("p.seam", { hidden: true });
  const element = h("div.part", {}, body, seam);

  function update({ part, newest, open, attempt }) {
    growText(body, part.text);
    const earlier = !newest || (open && attempt > part.attempt);
    element.classList.toggle("earlier", earlier);
    show(seam, earlier);
    const saved = `saved from attempt ${part.attempt}`;
    setText(seam, part.fallback ? "up to here by the stand-in" : saved);
  }
  return { element, update };
}

/** What is preserved of failed attempts, and what is lost. `partial(task)` has the whole of it. */
export function keptPart({ partial }) {
  const saved = h("span");
  const lostNames = h("span");
  const lost = h("span.lost", {}, icon("cross"), lostNames);
  const body = h("div.kept-body", { tabindex: "0" });
  const title = h("summary", {}, "Show what is saved");
  const open = h("details", { hidden: true }, title, body);
  const line = h("p.kept-line", {}, h("span", {}, icon("saved"), saved), lost);
  const element = h("div.kept", { hidden: true }, line, open);
  let task = null;
  let filled = null;
  open.addEventListener("toggle", fill);

  async function fill() {
    if (!open.open || filled === task.preserved) return;
    filled = task.preserved;
    let { steps, text } = filled;
    if (!filled.whole) {
      try {
        const whole = await partial(task);
        steps = whole.preserved_data;
        text = whole.preserved_text;
      } catch (error) {
        body.replaceChildren(h("p.note", {}, refusalWords(error)));
        filled = null;
        return;
      }
    }
    const rows = Object.entries(steps).map(([step, data]) => row(step, dataWords(data)));
    if (text) rows.push(row("Text so far", text));
    body.replaceChildren(h("dl", {}, rows));
  }

  function update(next) {
    task = next;
    const { preserved } = task;
    // Before a failure it is just output; once all is done, the result has what was saved.
    show(element, preserved !== null && task.error !== null && task.status !== "succeeded");
    if (element.hidden) return;
    const names = Object.keys(preserved.steps);
    if (preserved.text) names.push("the text so far");
    setText(saved, `Saved: ${names.length > 0 ? names.join(", ") : "what was done so far"}`);
    show(lost, preserved.lost.length > 0);
    setText(lostNames, `Lost: ${preserved.lost.map((step) => dataWords(step)).join(", ")}`);
    show(open, true);
    if (open.open) fill();
  }
  return { element, update };
}

function row(name, text) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, text));
}
