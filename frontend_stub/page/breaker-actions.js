/** The buttons of an operator at a breaker or a failure domain: open it, or close it. */

import { askedTwice } from "./asked-twice.js";
import { h, icon, setAttribute, show } from "./dom.js";
import { once, refusalNote } from "./refusals.js";

/** What is asked and said, by what the breaker is of. */
const CALLS = { open: "Open", close: "Close", asked: "Hold back all calls?" };
const DOMAIN = { open: "Slow down", close: "Let go", asked: "One task a second?" };

/**
 * @param {object} actions may(), whether the visitor operates; open(breaker), close(breaker):
 *   promises
 * @param {boolean} ofDomain
 */
export function breakerActions(actions, ofDomain = false) {
  let breaker = null;
  const words = ofDomain ? DOMAIN : CALLS;
  const refusal = refusalNote();
  const close = h("button", { type: "button", onclick: run }, icon("check"), words.close);
  const open = askedTwice({
    label: words.open,
    shape: "stop",
    question: () => words.asked,
    yes: words.open,
    act: () => tell(actions.open),
  });
  const element = h("div.row-actions", {}, open.element, close, refusal.element);

  function run() {
    once(close, () => tell(actions.close));
  }

  function tell(action) {
    return refusal.tell(() => action(breaker));
  }

  function update(next) {
    breaker = next;
    show(element, actions.may());
    const isClosed = breaker.state === "closed";
    // A button that goes away hands the keyboard's focus to the one that takes its place.
    const had = element.contains(document.activeElement);
    open.offer(isClosed);
    show(close, !isClosed);
    setAttribute(close, "aria-label", `${words.close} ${breaker.name}`);
    open.name(`${words.open} ${breaker.name}`);
    if (had && isClosed) open.element.firstChild.focus();
    else if (had) close.focus();
  }
  return { element, update };
}
