/**
 * A button that asks before it acts: what it stands for is said, and one more press does it.
 *
 * The keyboard's focus goes to the way out, not to the act: who keeps Enter pressed does nothing.
 */

import { h, icon, setText, show } from "./dom.js";

/**
 * @param {object} asked label of the button and its shape; question(), what is asked; yes, what the
 *   second button says; act(), a promise: what it does, which tells its own failures
 */
export function askedTwice({ label, shape, question, yes, act }) {
  const words = h("span");
  const first = h("button", { type: "button", onclick: open }, icon(shape), h("span", {}, label));
  const no = h("button", { type: "button", onclick: close }, "No");
  const sure = h("button.danger", { type: "button", onclick: run }, yes);
  const asked = h("span.asked-pair", { role: "group", hidden: true }, words, no, sure);
  const element = h("span.asked-twice", { onkeydown: pressed }, first, asked);

  function open() {
    setText(words, question());
    asked.setAttribute("aria-label", words.textContent);
    show(first, false);
    show(asked, true);
    no.focus();
  }

  function close() {
    const hadFocus = asked.contains(document.activeElement);
    show(asked, false);
    show(first, true);
    if (hadFocus) first.focus();
  }

  function pressed({ key }) {
    if (key === "Escape" && !asked.hidden && sure.ariaDisabled !== "true") close();
  }

  async function run() {
    if (sure.ariaDisabled === "true") return;
    sure.ariaDisabled = "true";
    no.ariaDisabled = "true";
    try {
      await act();
    } finally {
      sure.ariaDisabled = null;
      no.ariaDisabled = null;
      close();
    }
  }

  return {
    element,
    /** Show the button, or take it away with its question. */
    offer(visible) {
      if (!visible && !asked.hidden) close();
      show(element, visible);
    },
    /** How a screen reader calls the button; its words are the beginning. */
    name: (text) => first.setAttribute("aria-label", text),
    /** Say something else on the button. */
    say: (text) => setText(first.lastChild, text),
  };
}
