/** The upstreams whose calls the gateway limits by itself: how many run, and how many may. */

import { h, keyed, setIcon, setText, show } from "./dom.js";

/** Draw the upstreams, if there are any. `known()`: name → {running, limit}. */
export function upstreams(section, place, known) {
  const list = h("ul.rows");
  place.append(list);

  function draw() {
    const items = Object.entries(known()).map(([name, counts]) => ({ name, ...counts }));
    show(section, items.length > 0);
    items.sort((one, two) => one.name.localeCompare(two.name));
    keyed(list, items, ({ name }) => name, row);
  }
  return { draw };
}

function row() {
  const mark = h("span.slot");
  const name = h("span.row-name");
  const what = h("span.row-what");
  const element = h("li", {}, mark, h("div", {}, name, what));

  function update({ name: upstream, running, limit }) {
    const isFull = running >= limit;
    element.className = isFull ? "warn" : "good";
    element.dataset.upstream = upstream;
    setIcon(mark, isFull ? "clock" : "check");
    setText(name, upstream);
    setText(what, `${running} of ${limit} calls at once${isFull ? "; the next one waits" : ""}`);
  }
  return { element, update };
}
