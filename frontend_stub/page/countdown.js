/**
 * Countdowns, and ages: texts that change with the time alone. One timer for all of them, and
 * none while there is nothing to count.
 */

import { set_text } from "./dom.js";

const TICK_MS = 100;
const counting = new Map(); // element → {until_ms, words, clock_ms, up}
let timer = null;
let gateway_clock = () => Date.now();

/** Count by the gateway's clock, since the times come from there. */
export function count_by(server_now) {
  gateway_clock = server_now;
}

/**
 * Keep `element` saying `words(seconds left)` until `until` (a timestamp or ms); null stops.
 * At zero it says words(0) once, and rests. `clock_ms` is the clock that `until` was read from.
 */
export function countdown(element, until, words, clock_ms = gateway_clock) {
  const until_ms = typeof until === "string" ? Date.parse(until) : until;
  if (until_ms === null || until_ms === undefined || Number.isNaN(until_ms)) {
    counting.delete(element);
    return;
  }
  counting.set(element, { until_ms, words, clock_ms });
  write(element, until_ms, words, clock_ms);
  timer ??= setInterval(tick, TICK_MS);
}

/** Keep `element` saying `words(seconds since)`; null stops. */
export function count_up(element, since, words) {
  const since_ms = since === null ? Number.NaN : Date.parse(since);
  if (Number.isNaN(since_ms)) {
    counting.delete(element);
    return;
  }
  const age = (left_s) => words(-left_s);
  counting.set(element, { until_ms: since_ms, words: age, clock_ms: gateway_clock, up: true });
  write(element, since_ms, age, gateway_clock, true);
  timer ??= setInterval(tick, TICK_MS);
}

function tick() {
  for (const [element, { until_ms, words, clock_ms, up }] of counting) {
    if (!element.isConnected || (write(element, until_ms, words, clock_ms, up) === 0 && !up)) counting.delete(element);
  }
  if (counting.size === 0) {
    clearInterval(timer);
    timer = null;
  }
}

function write(element, until_ms, words, clock_ms, up = false) {
  const away_s = (until_ms - clock_ms()) / 1000;
  const left_s = up ? Math.min(0, away_s) : Math.max(0, away_s);
  set_text(element, words(left_s));
  return left_s;
}
