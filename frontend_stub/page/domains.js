/** The failure domains: the workers of each, what became of its tasks, and how fast it goes. */

import { breakerActions } from "./breaker-actions.js";
import { h, keyed, setIcon, setText, show } from "./dom.js";
import { DOMAIN_STATE, count, lookup } from "./words.js";

/**
 * Draw the failure domains, if there are any. `known()`: name → counts, where they are known;
 * `actions` as in `breaker-actions.js`.
 */
export function domains(section, place, known, actions) {
  const list = h("ul.rows");
  place.append(list);

  function draw({ breakers }) {
    const items = new Map();
    for (const [name, counts] of Object.entries(known())) items.set(name, { name, counts });
    for (const { name, scope, state } of breakers.values()) {
      if (scope === "domain") items.set(name, { name, ...items.get(name), state });
    }
    show(section, items.size > 0);
    const sorted = [...items.values()].sort((one, two) => one.name.localeCompare(two.name));
    keyed(list, sorted, ({ name }) => name, () => row(actions));
  }
  return { draw };
}

function row(actions) {
  const mark = h("span.slot");
  const name = h("span.row-name");
  const what = h("span.row-what");
  const extra = h("span.row-what");
  const buttons = breakerActions(actions, true);
  const element = h("li", {}, mark, h("div", {}, name, what, extra), buttons.element);

  function update({ name: domain, state = "closed", counts }) {
    const [words, shape, tone] = lookup(DOMAIN_STATE, state);
    element.className = tone;
    element.dataset.domain = domain;
    setIcon(mark, shape);
    setText(name, domain);
    setText(what, words);
    show(extra, counts !== undefined);
    setText(extra, counts ? countWords(counts) : "");
    buttons.update({ name: domain, scope: "domain", state });
  }
  return { element, update };
}

function countWords({ agents, open, finished, failed }) {
  const parts = [count(agents, "worker"), `${open} open`, `${finished - failed} done`];
  if (failed > 0) parts.push(`${failed} failed`);
  return parts.join(" · ");
}
