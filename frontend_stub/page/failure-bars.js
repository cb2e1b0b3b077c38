/** The failures of the last hour as small pictures: a bar a minute, and the same in words. */

import { countUp } from "./countdown.js";
import { h, keyed, setAttribute, setText, show } from "./dom.js";
import { MINUTES } from "./failure-times.js";
import { ago, clock } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const ROWS_AT_FIRST = 6;
const ROWS_MAX = 60;
const HEIGHT = 24;
/** One failure in an hour is no wall: so many a minute fill the height at the least. */
const PEAK_LEAST = 4;
const BAR_LEAST = 3;
const MINUTE_MS = 60_000;

/**
 * @param {HTMLElement} section
 * @param {object} page rows(nowMs) of `failure-times.js`, now() by the gateway's clock, version()
 *   that grows with each failure, since(): {fromMs} since when none is missing, or null
 */
export function failureBars(section, { rows, now, version, since }) {
  let isAll = false;
  let drawn = "";
  const summary = h("p.quiet");
  const title = h("h2", { id: "failures-title" }, "Failures in the last hour");
  const list = h("ul.failure-rows");
  const more = h("button.plain", { type: "button", hidden: true, onclick: showAll });
  const ends = h("p.bars-ends", { "aria-hidden": "true" }, h("span", {}, "an hour ago"), "now");
  section.append(h("div.section-head", {}, title, summary), list, ends, more);

  function showAll() {
    isAll = true;
    list.lastElementChild?.focus();
    draw();
  }

  function draw() {
    const nowMs = now();
    const key = [Math.floor(nowMs / MINUTE_MS), version(), isAll].join(" ");
    if (key === drawn) return;
    drawn = key;
    const all = rows(nowMs);
    show(section, all.length > 0);
    const items = all.slice(0, isAll ? ROWS_MAX : ROWS_AT_FIRST);
    keyed(list, items, (row) => row.key, failureRow);
    show(more, all.length > items.length && !isAll);
    setText(more, `Show ${all.length - items.length} more kinds`);
    const fromMs = since();
    setText(summary, fromMs === null ? "" : `counted since ${clock(fromMs)}`);
  }
  return { draw };
}

function failureRow() {
  const name = h("span.row-name");
  const code = h("span.failure-code");
  const many = h("span");
  const newest = h("span");
  const path = document.createElementNS(SVG, "path");
  const picture = document.createElementNS(SVG, "svg");
  setAttribute(picture, "class", "bars");
  setAttribute(picture, "viewBox", `0 0 ${MINUTES} ${HEIGHT}`);
  setAttribute(picture, "preserveAspectRatio", "none");
  setAttribute(picture, "aria-hidden", "true");
  picture.append(path);
  const said = h("p.failure-said", {}, name, " ", code, h("span.visually-hidden", {}, ":"));
  const times = h("p.quiet", {}, many, newest);
  const element = h("li", { tabindex: "-1" }, said, times, picture);
  let newestMs = null;

  function update(row) {
    element.dataset.failure = `${row.agent} ${row.code}`;
    element.dataset.total = row.total;
    setText(name, row.agent);
    setText(code, row.code.replaceAll("_", " "));
    setText(many, `${row.total} in the last hour`);
    if (newestMs !== row.newestMs) {
      newestMs = row.newestMs;
      countUp(newest, new Date(newestMs).toISOString(), (ageS) => `, newest ${ago(ageS)}`);
    }
    setAttribute(path, "d", barsOf(row.bars));
  }
  return { element, update };
}

/** The outline of all bars, from the minute that is an hour ago to this one. */
function barsOf(bars) {
  const peak = Math.max(PEAK_LEAST, ...bars);
  const drawn = bars.map((many, at) => {
    if (many === 0) return "";
    const high = Math.max(BAR_LEAST, (many / peak) * HEIGHT).toFixed(1);
    return `M${at + 0.1} ${HEIGHT}v-${high}h.8v${high}z`;
  });
  return drawn.join("");
}
