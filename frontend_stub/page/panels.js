/** The circuit breakers of agents and upstreams: which hold calls back, and why. */

import { breakerActions } from "./breaker-actions.js";
import { countdown } from "./countdown.js";
import { h, keyed, setIcon, setText, show } from "./dom.js";
import { BREAKER_STATE, count, duration, lookup } from "./words.js";

const WORST_FIRST = { open: 0, half_open: 1, closed: 2 };

/**
 * Draw the circuit breakers, those that hold calls back first. `actions` as in
 * `breaker-actions.js`; listed(): for an operator, name → breaker with its counts.
 */
export function breakers(place, actions) {
  const nothing = h("p.quiet");
  const list = h("ul.rows");
  place.append(nothing, list);
  function draw(state) {
    const rank = (breaker) => WORST_FIRST[breaker.state] ?? 3;
    const ofCalls = [...state.breakers.values()].filter(({ scope }) => scope !== "domain");
    const listed = actions.listed();
    for (const breaker of listed.values()) {
      if (!state.breakers.has(breaker.name)) ofCalls.push(breaker);
    }
    ofCalls.sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
    const openings = openingsOf(state);
    const items = ofCalls.map((breaker) =>
      itemOf(breaker, {
        opening: openings.get(breaker.name),
        counts: countWords(listed.get(breaker.name)),
        may: actions.may(),
      }),
    );
    show(nothing, items.length === 0);
    setText(nothing, state.epoch === null ? "Not known yet." : "All calls go through.");
    keyed(list, items, ({ breaker }) => breaker.name, () => breakerRow(actions));
  }
  return { draw };
}

const known = new WeakMap(); // failures → name of a breaker → the event of its opening

function openingsOf({ failures }) {
  if (!known.has(failures)) {
    const openings = new Map();
    for (const event of failures.values()) {
      if (event.type === "circuit_breaker_triggered") openings.set(event.breaker, event);
    }
    known.set(failures, openings);
  }
  return known.get(failures);
}

const paired = new WeakMap(); // breaker → its item, the same object while it says the same

function itemOf(breaker, { opening, counts, may }) {
  const before = paired.get(breaker);
  const isSame = (item) => item.opening === opening && item.counts === counts && item.may === may;
  if (before && isSame(before)) return before;
  const item = { breaker, opening, counts, may };
  paired.set(breaker, item);
  return item;
}

function breakerRow(actions) {
  const mark = h("span.slot");
  const name = h("span.row-name");
  const what = h("span.row-what");
  const why = h("span.row-what");
  const extra = h("span.row-extra");
  const buttons = breakerActions(actions);
  const element = h("li", {}, mark, h("div", {}, name, what, why, extra), buttons.element);
  function update({ breaker, opening, counts }) {
    const [words, shape, tone] = lookup(BREAKER_STATE, breaker.state);
    element.className = tone;
    element.dataset.breaker = breaker.name;
    element.dataset.state = breaker.state;
    setIcon(mark, shape);
    setText(name, breaker.name);
    const isOpen = breaker.state === "open";
    setText(what, isOpen && breaker.fallback_active ? `${words}; a stand-in answers` : words);
    const isTold = breaker.state !== "closed" && Boolean(opening);
    setText(why, isTold ? whyWords(opening) : counts);
    show(why, Boolean(why.textContent));
    const probeAt = isOpen ? breaker.probe_at : null;
    show(extra, Boolean(probeAt));
    countdown(extra, probeAt ?? null, (leftS) =>
      leftS > 0 ? `Next test in ${duration(leftS)}` : "The next call tests it",
    );
    buttons.update(breaker);
  }
  return { element, update };
}

/** How its newest calls went, where that is known. */
function countWords(counted) {
  if (!counted || counted.outcomes === 0) return "";
  return `${counted.failures} of the newest ${count(counted.outcomes, "call")} failed`;
}

/** Why it has opened. A breaker opens by itself only at a failure; else an operator did it. */
function whyWords({ failure_rate: rate, failure_threshold_reached: failures, reopened }) {
  if (!(rate > 0)) return "An operator has opened it.";
  const share = `${Math.round(rate * 100)} % of its calls failed`;
  const again = reopened ? "again, " : "";
  return `Opened ${again}after ${count(failures, "failure")}; ${share}.`;
}
