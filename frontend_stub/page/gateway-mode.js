/** The mode of the gateway and what is degraded: what a user should know before asking anything. */

import { countUp } from "./countdown.js";
import { h, icon, keyed, setIcon, setText, show } from "./dom.js";
import { MODE, MODE_SHORT, clock, duration, lookup } from "./words.js";

/** Draw the mode as one word in the bar. */
export function modeSign(place) {
  const slot = h("span.slot");
  const words = h("span");
  const sign = h("span.chip.mode", {}, slot, words);
  place.append(sign);

  function draw({ mode, epoch }) {
    show(sign, epoch !== null); // before the gateway has told anything, nothing is normal
    const [said, shape, tone] = lookup(MODE_SHORT, mode);
    sign.className = `chip mode ${tone}`;
    sign.dataset.mode = mode;
    setIcon(slot, shape);
    setText(words, said);
  }
  return { draw };
}

/** Draw each degradation that is in force: what still works, and what does not. */
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
  const works = featureLine("check", "Works");
  const paused = featureLine("cross", "Paused");
  const impact = h("p.banner-detail");
  const since = h("p.banner-detail.since");
  const parts = [title, works.element, paused.element, impact, since];
  const element = h("div.banner", { role: "note" }, icon("shield"), h("div", {}, parts));

  function update(event) {
    const words = event.user_message ?? MODE[event.mode] ?? "Some features are reduced.";
    element.dataset.mode = event.mode;
    setText(title, words);
    works.update(event.available_features);
    paused.update(event.disabled_features);
    const felt = event.performance_impact;
    show(impact, typeof felt === "string" && felt !== words);
    setText(impact, felt);
    show(since, Boolean(event.since));
    countUp(since, event.since ?? null, (ageS) => sinceWords(event.since, ageS));
  }
  return { element, update };
}

function featureLine(shape, name) {
  const words = h("span");
  const element = h("p.banner-features", {}, icon(shape), h("span", {}, h("b", {}, name), words));
  function update(features) {
    show(element, features?.length > 0);
    setText(words, `: ${(features ?? []).join(", ").replaceAll("_", " ")}`);
  }
  return { element, update };
}

function sinceWords(since, ageS) {
  return `Since ${clock(since)}, for ${duration(Math.floor(ageS)).replace(".0", "")}`;
}
