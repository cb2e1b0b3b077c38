/** What stands beside the tasks: banners, notices and breakers. */

import { countdown } from "./countdown.js";
import { h, icon, keyed, set_icon, set_text, show } from "./dom.js";
import { BREAKER_STATE, MODE, clock, duration, lookup } from "./words.js";

/** Degradations and the mode: what everyone should know before asking anything. */
export function banners(place) {
  function draw(state) {
    const items = [...state.degradations.values()];
    if (state.degradation) items.unshift(state.degradation);
    const told = items.some((event) => event.mode === state.mode);
    if (!told && Object.hasOwn(MODE, state.mode)) {
      items.unshift({ degradation_id: "mode", user_message: `${MODE[state.mode]}.`, mode: state.mode });
    }
    keyed(place, items, (event) => event.degradation_id, banner);
  }
  return { draw };
}

function banner() {
  const title = h("p.banner-title");
  const detail = h("p.banner-detail");
  const element = h("div.banner", { role: "note" }, icon("shield"), h("div", {}, title, detail));
  function update(event) {
    set_text(title, event.user_message ?? MODE[event.mode] ?? "Some features are reduced.");
    const parts = [];
    if (event.available_features?.length > 0) parts.push(`Works: ${names(event.available_features)}`);
    if (event.disabled_features?.length > 0) parts.push(`Paused: ${names(event.disabled_features)}`);
    if (typeof event.performance_impact === "string") parts.push(event.performance_impact);
    if (event.since) parts.push(`since ${clock(event.since)}`);
    set_text(detail, parts.join(" · "));
    show(detail, parts.length > 0);
  }
  return { element, update };
}

function names(features) {
  return features.join(", ").replaceAll("_", " ");
}

/** Rejections and notifications, until they are dismissed. */
export function notices(place, place_after) {
  const dismissed = new Set();
  const SHOWN = 3;
  let last = null;

  function draw(state) {
    last = state;
    const open = state.notices.filter((event) => !dismissed.has(event.event_id));
    keyed(place, open.slice(-SHOWN).reverse(), (event) => event.event_id, notice);
  }

  function notice() {
    let shown = null;
    const title = h("p.said");
    const when = h("p.when");
    const close = h("button.plain.close", {
      type: "button",
      "aria-label": "Dismiss",
      onclick: () => {
        dismissed.add(shown.event_id);
        place_after.focus();
        draw(last);
      },
    }, icon("cross"));
    const element = h("div.notice", {}, h("span.slot", {}, icon("info")), h("div", {}, title, when), close);
    function update(event) {
      shown = event;
      const rejected = event.type === "request_rejected";
      const words = rejected ? [event.agent_name, event.user_message] : [event.subject, said(event.payload)];
      set_text(title, words.filter(Boolean).join(": "));
      show(when, rejected && event.retry_after > 0);
      if (rejected && event.retry_after > 0) {
        const until_ms = Date.parse(event.timestamp) + event.retry_after * 1000;
        countdown(when, until_ms, (left_s) =>
          left_s > 0 ? `You can try again in ${duration(left_s)}` : "You can try again now");
      }
    }
    return { element, update };
  }
  return { draw };
}

function said(payload) {
  if (payload === null || payload === undefined) return "";
  return typeof payload === "string" ? payload : JSON.stringify(payload);
}

const WORST_FIRST = { open: 0, half_open: 1, closed: 2 };

export function breakers(place) {
  const nothing = h("p.quiet", {}, "All calls go through.");
  const list = h("ul.rows");
  place.append(nothing, list);
  function draw(state) {
    const items = [...state.breakers.values()].sort(
      (a, b) => (WORST_FIRST[a.state] ?? 3) - (WORST_FIRST[b.state] ?? 3) || a.name.localeCompare(b.name),
    );
    show(nothing, items.length === 0);
    keyed(list, items, (breaker) => breaker.name, breaker_row);
  }
  return { draw };
}

function breaker_row() {
  const mark = h("span.slot");
  const name = h("span.row-name");
  const what = h("span.row-what");
  const extra = h("span.row-extra");
  const element = h("li", {}, mark, h("div", {}, name, what, extra));
  function update(breaker) {
    const [words, shape, tone] = lookup(BREAKER_STATE, breaker.state);
    element.className = tone;
    element.dataset.breaker = breaker.name;
    element.dataset.state = breaker.state;
    set_icon(mark, shape);
    set_text(name, breaker.name);
    set_text(what, breaker.fallback_active && breaker.state === "open" ? `${words}; a stand-in answers` : words);
    const probe_at = breaker.state === "open" ? breaker.probe_at : null;
    show(extra, Boolean(probe_at));
    countdown(extra, probe_at ?? null, (left_s) => (left_s > 0 ? `Next test in ${duration(left_s)}` : "The next call tests it"));
  }
  return { element, update };
}
