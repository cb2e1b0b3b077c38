/** The circuit breakers, and the failure domains that are slowed down. */

import { countdown } from "./countdown.js";
import { h, keyed, setIcon, setText, show } from "./dom.js";
import { BREAKER_STATE, DOMAIN_STATE, duration, lookup } from "./words.js";

const WORST_FIRST = { open: 0, half_open: 1, closed: 2 };

/** Draw the circuit breakers of agents and upstreams, those that hold calls back first. */
export function breakers(place) {
  const nothing = h("p.quiet", {}, "All calls go through.");
  const list = h("ul.rows");
  place.append(nothing, list);
  function draw(state) {
    const rank = (breaker) => WORST_FIRST[breaker.state] ?? 3;
    const ofCalls = [...state.breakers.values()].filter(({ scope }) => scope !== "domain");
    const items = ofCalls.sort(
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
