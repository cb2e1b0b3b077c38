/**
 * Countdowns and ages: texts that change with the time alone. One timer serves all of them, and
 * there is none while nothing is counted.
 */

import { setText } from "./dom.js";

const TICK_MS = 100;
const counting = new Map(); // element → {untilMs, words, clockMs, up}
let timer = null;
let gatewayClock = () => Date.now();

/** Count by the gateway's clock, since the gateway names the times. */
export function countBy(serverNow) {
  gatewayClock = serverNow;
}

/**
 * Keep `element` saying `words(seconds left)` until `until` (a timestamp or ms); null stops.
 * At zero it says words(0) once, and rests. `clockMs` is the clock that `until` was read from.
 */
export function countdown(element, until, words, clockMs = gatewayClock) {
  const untilMs = typeof until === "string" ? Date.parse(until) : until;
  if (untilMs === null || untilMs === undefined || Number.isNaN(untilMs)) {
    counting.delete(element);
    return;
  }
  counting.set(element, { untilMs, words, clockMs });
  write(element, untilMs, words, clockMs);
  timer ??= setInterval(tick, TICK_MS);
}

/** Keep `element` saying `words(seconds since)`; null stops. */
export function countUp(element, since, words) {
  const sinceMs = since === null ? Number.NaN : Date.parse(since);
  if (Number.isNaN(sinceMs)) {
    counting.delete(element);
    return;
  }
  const age = (leftS) => words(-leftS);
  counting.set(element, { untilMs: sinceMs, words: age, clockMs: gatewayClock, up: true });
  write(element, sinceMs, age, gatewayClock, true);
  timer ??= setInterval(tick, TICK_MS);
}

function tick() {
  for (const [element, { untilMs, words, clockMs, up }] of counting) {
    const isOver = element.isConnected && write(element, untilMs, words, clockMs, up) === 0 && !up;
    if (!element.isConnected || isOver) counting.delete(element);
  }
  if (counting.size === 0) {
    clearInterval(timer);
    timer = null;
  }
}

function write(element, untilMs, words, clockMs, up = false) {
  const awayS = (untilMs - clockMs()) / 1000;
  const leftS = up ? Math.min(0, awayS) : Math.max(0, awayS);
  setText(element, words(leftS));
  return leftS;
}
