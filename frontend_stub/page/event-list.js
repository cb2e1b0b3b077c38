/** The events, newest first; each line opens to the event itself. */

import { h, icon, keyed, setText, show } from "./dom.js";
import { LIMITS } from "../client/gateway-client.js";
import { SEVERITY, clock, count, lookup } from "./words.js";

const SHOWN_AT_FIRST = 100;
const SHOWN_MORE = 300;
const SEARCHED = [
  "type",
  "agent_name",
  "task_id",
  "error_code",
  "error_id",
  "message",
  "user_message",
];
/** Nobody reads faster than this; all lines may be others after a burst. */
const DRAWN_EVERY_MS = 200;
const CHATTER = new Set(["partial_result", "task_progress"]);

/** Draw the list in `place`; `summary` says how many events there are. */
export function eventList(place, summary) {
  let shown = SHOWN_AT_FIRST;
  let last = null;
  let drawnMs = Number.NEGATIVE_INFINITY;
  let timer = null;
  const filter = h("input", {
    type: "search",
    placeholder: "Filter",
    "aria-label": "Filter events by type, agent, task or text",
    oninput: redraw,
  });
  const severity = h(
    "select",
    { "aria-label": "Which events", onchange: redraw },
    h("option", { value: "calm" }, "Without progress"),
    h("option", { value: "all" }, "All"),
    h("option", { value: "trouble" }, "Warnings and errors"),
  );
  const list = h("ol.event-list", { reversed: true });
  const nothing = h("p.quiet", {}, "Nothing yet.");
  const more = h("button.plain", { type: "button", hidden: true }, "Show more");
  more.addEventListener("click", () => {
    shown += SHOWN_MORE;
    redraw();
  });
  place.append(h("div.filters", {}, filter, severity), nothing, list, more);

  /** Draw now, or soon when it has just been drawn. */
  function draw(state) {
    last = state;
    const waitMs = drawnMs + DRAWN_EVERY_MS - performance.now();
    if (waitMs <= 0) redraw();
    else timer ??= setTimeout(redraw, waitMs);
  }

  function redraw() {
    clearTimeout(timer);
    timer = null;
    drawnMs = performance.now();
    if (last) drawAll(last);
  }

  function drawAll(state) {
    const words = filter.value.trim().toLowerCase();
    const wanted = [];
    let matching = 0;
    for (let at = state.events.length - 1; at >= 0; at -= 1) {
      const event = state.events[at];
      if (severity.value === "calm" && CHATTER.has(event.type)) continue;
      if (severity.value === "trouble" && (event.severity === "info" || !event.severity)) continue;
      if (words && !matches(event, words)) continue;
      matching += 1;
      if (wanted.length < shown) wanted.push(event);
    }
    keyed(list, wanted, (event) => `${event.epoch} ${event.offset}`, eventLine);
    show(nothing, matching === 0);
    setText(nothing, words || severity.value === "trouble" ? "Nothing matches." : "Nothing yet.");
    show(more, matching > shown);
    const kept = state.dropped.events ? ` (the newest ${LIMITS.events} are kept)` : "";
    setText(summary, `${count(state.events.length, "event")}${kept}`);
  }
  return { draw };
}

function matches(event, words) {
  const has = (text) => typeof text === "string" && text.toLowerCase().includes(words);
  return SEARCHED.some((field) => has(event[field]));
}

function eventLine(event) {
  const [severity, shape, tone] = lookup(SEVERITY, event.severity ?? "info");
  const json = h("pre", { tabindex: "0" });
  // Written when the line is opened for the first time: most lines never are.
  const toggled = ({ target }) => {
    if (target.open && !json.textContent) json.textContent = JSON.stringify(event, null, 2);
  };
  const line = h(
    "summary",
    { class: tone },
    h("span.slot", {}, icon(shape), h("span.visually-hidden", {}, severity)),
    h("span.event-type", {}, event.type),
    h("span.event-what", {}, [event.agent_name, what(event)].filter(Boolean).join(" · ")),
    h("time.event-time", { datetime: event.timestamp }, clock(event.timestamp)),
  );
  const element = h(
    "li",
    { "data-offset": event.offset, "data-type": event.type },
    h("details", { ontoggle: toggled }, line, json),
  );
  return { element };
}

/** The field of an event that tells most. */
function what(event) {
  switch (event.type) {
    case "task_finished":
      return event.degraded ? `${event.outcome}, degraded` : event.outcome;
    case "task_progress":
      return [event.step, percent(event.progress)].filter(Boolean).join(" ");
    case "task_started":
      return event.attempt ? `attempt ${event.attempt}` : "";
    case "recovery_attempt":
      return event.strategy?.replaceAll("_", " ");
    case "task_waiting":
      return [event.waits_for?.replaceAll("_", " "), event.name].filter(Boolean).join(" ");
    case "system_recovered":
      return event.scope;
    case "request_rejected":
      return event.reason?.replaceAll("_", " ");
    case "agent_status_changed":
      return event.status;
    case "partial_result":
      return event.step ?? `piece ${event.piece ?? ""}`;
    default:
      return event.error_code?.replaceAll("_", " ") ?? event.subject ?? event.scope ?? "";
  }
}

function percent(progress) {
  return typeof progress === "number" ? `${Math.round(progress * 100)} %` : null;
}
