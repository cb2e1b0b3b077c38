/** What stands beside the tasks: banners, notices and breakers. */

import { countdown } from "./countdown.js";
import { h, icon, keyed, setIcon, setText, show } from "./dom.js";
import { BREAKER_STATE, DOMAIN_STATE, MODE, clock, duration, lookup } from "./words.js";

/** Draw the degradations and the mode: what a user should know before asking anything. */
export function banners(place) {
  function draw(state) {
    const items = [...state.degradations.values()];
    if (state.degradation) items.unshift(state.degradation);
    const told = items.some((event) => event.mode === state.mode);
    if (!told && Object.hasOwn(MODE, state.mode)) {
      const words = `${MODE[state.mode]}.`;
      items.unshift({ degradation_id: "mode", user_message: words, mode: state.mode });
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
    setText(title, event.user_message ?? MODE[event.mode] ?? "Some features are reduced.");
    const parts = [];
    const { available_features: available, disabled_features: disabled } = event;
    if (available?.length > 0) parts.push(`Works: ${names(available)}`);
    if (disabled?.length > 0) parts.push(`Paused: ${names(disabled)}`);
    if (typeof event.performance_impact === "string") parts.push(event.performance_impact);
    if (event.since) parts.push(`since ${clock(event.since)}`);
    setText(detail, parts.join(" · "));
    show(detail, parts.length > 0);
  }
  return { element, update };
}

function names(features) {
  return features.join(", ").replaceAll("_", " ");
}

const NOTICES_SHOWN = 3;

/**
 * Draw rejections and notifications, until the user dismisses them. `placeAfter` gets the
 * keyboard's focus when the button that had it goes away.
 */
export function notices(place, placeAfter) {
  const dismissed = new Set();
  let last = null;

  function draw(state) {
    last = state;
    const open = state.notices.filter((event) => !dismissed.has(event.event_id));
    keyed(place, open.slice(-NOTICES_SHOWN).reverse(), (event) => event.event_id, notice);
  }

  function notice() {
    let shown = null;
    const title = h("p.said");
    const when = h("p.when");
    const dismiss = () => {
      dismissed.add(shown.event_id);
      placeAfter.focus();
      draw(last);
    };
    const close = h(
      "button.plain.close",
      { type: "button", "aria-label": "Dismiss", onclick: dismiss },
      icon("cross"),
    );
    const mark = h("span.slot", {}, icon("info"));
    const element = h("div.notice", {}, mark, h("div", {}, title, when), close);
    function update(event) {
      shown = event;
      const rejected = event.type === "request_rejected";
      const words = rejected
        ? [event.agent_name, event.user_message]
        : [event.subject, said(event.payload)];
      setText(title, words.filter(Boolean).join(": "));
      show(when, rejected && event.retry_after > 0);
      if (rejected && event.retry_after > 0) {
        const untilMs = Date.parse(event.timestamp) + event.retry_after * 1000;
        countdown(when, untilMs, (leftS) =>
          leftS > 0 ? `You can try again in ${duration(leftS)}` : "You can try again now",
        );
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

/** Draw the circuit breakers, those that hold calls back first. */
export function breakers(place) {
  const nothing = h("p.quiet", {}, "All calls go through.");
  const list = h("ul.rows");
  place.append(nothing, list);
  function draw(state) {
    const rank = (breaker) => WORST_FIRST[breaker.state] ?? 3;
    const items = [...state.breakers.values()].sort(
      (a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name),
    );
    show(nothing, items.length === 0);
    keyed(list, items, (breaker) => `${breaker.scope} ${breaker.name}`, breakerRow);
  }
  return { draw };
}

function breakerRow() {
  const mark = h("span.slot");
  const name = h("span.row-name");
  const what = h("span.row-what");
  const extra = h("span.row-extra");
  const element = h("li", {}, mark, h("div", {}, name, what, extra));
  function update(breaker) {
    const ofDomain = breaker.scope === "domain";
    const [words, shape, tone] = lookup(ofDomain ? DOMAIN_STATE : BREAKER_STATE, breaker.state);
    element.className = tone;
    element.dataset.breaker = breaker.name;
    element.dataset.state = breaker.state;
    setIcon(mark, shape);
    setText(name, ofDomain ? `Domain ${breaker.name}` : breaker.name);
    const isOpen = breaker.state === "open";
    setText(what, isOpen && breaker.fallback_active ? `${words}; a stand-in answers` : words);
    const probeAt = isOpen ? breaker.probe_at : null;
    show(extra, Boolean(probeAt));
    countdown(extra, probeAt ?? null, (leftS) =>
      leftS > 0 ? `Next test in ${duration(leftS)}` : "The next call tests it",
    );
  }
  return { element, update };
}
