/** The card of a failure that is reported without a task: of a night's job, of a backend's work. */

import { detailPart } from "./detail.js";
import { h, icon, setAttribute, setIcon, setText, show } from "./dom.js";
import { clock, duration, reportActionWords, sentence, shortId } from "./words.js";

/** @param {object} actions ownerOf(event) */
export function reportCard(actions) {
  const name = h("h3");
  const chipIcon = h("span.slot");
  const chipText = h("span");
  const chip = h("span.chip", {}, chipIcon, chipText);
  const said = h("p.said");
  const todo = h("p.next");
  const trouble = h("div.trouble", {}, icon("warning"), h("div", {}, said, todo));
  const over = h("p.over", { hidden: true });
  const detail = h("div", { hidden: true });
  const meta = h("span.meta");
  const element = h(
    "article.card.task.report",
    { tabindex: "-1" },
    h("header.task-head", {}, h("div.task-title", {}, name, badge()), chip),
    trouble,
    over,
    detail,
    h("footer.task-foot", {}, meta),
  );
  let detailed = null;

  function update(report) {
    const { event, recovered } = report;
    const [words, shape, tone] = stateOf(report);
    element.dataset.report = report.error_id;
    element.dataset.status = recovered ? "recovered" : "failed";
    setAttribute(element, "aria-label", `Report of ${event.agent_name}: ${words}`);
    setText(name, event.agent_name ?? "Report");
    chip.className = `chip ${tone}`;
    setIcon(chipIcon, shape);
    setText(chipText, words);
    trouble.classList.toggle("bad", !recovered && !event.will_retry);
    setText(said, event.user_message ?? sentence(event.message));
    const failure = { ...event, estimate: event.estimated_recovery_time };
    setText(todo, recovered ? "" : reportActionWords(failure));
    show(todo, Boolean(todo.textContent));
    show(over, recovered !== null);
    setText(over, recovered ? overWords(recovered) : "");
    setText(meta, metaOf(report, actions.ownerOf(event)));
    if (detailed !== event) {
      detailed = event;
      const part = detailPart(event.detail ?? null);
      detail.replaceChildren(...(part ? [part] : []));
      show(detail, part !== null);
    }
  }
  return { element, update };
}

function badge() {
  return h("span.chip.badge.calm", {}, "Report");
}

function stateOf({ event, recovered }) {
  if (recovered) return ["Over", "check", "good"];
  return event.will_retry ? ["Trying again", "retry", "warn"] : ["Failed", "cross", "bad"];
}

function overWords({ user_message: said, recovery_time: tookS, timestamp }) {
  const took = tookS > 0 ? ` It lasted ${duration(tookS)}, until ${clock(timestamp)}.` : "";
  return `${sentence(said ?? "The problem is over")}${took}`;
}

function metaOf({ event, times }, owner) {
  const parts = [shortId(event.error_id ?? event.event_id), clock(event.timestamp)];
  if (owner) parts.unshift(`for ${owner}`);
  if (times > 1) parts.push(`reported ${times} times`);
  if (event.error_code) parts.push(event.error_code.replaceAll("_", " "));
  return parts.join(" · ");
}
