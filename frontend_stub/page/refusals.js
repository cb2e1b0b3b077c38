/** What the gateway does not do, or does not answer: it is said beside the button. */

import { CallError, NoAnswer } from "../client/gateway-client.js";
import { h, setText, show } from "./dom.js";
import { refusalWords } from "./words.js";

/** Throw an error that is no refusal and no missing answer: it is a mistake of the page. */
export function requireRefusal(error) {
  if (!(error instanceof CallError || error instanceof NoAnswer)) throw error;
}

/** Do what a button stands for, unless that is under way. */
export async function once(button, act) {
  // Not `disabled`, which would take the keyboard's place on the page away.
  if (button.ariaDisabled === "true") return;
  button.ariaDisabled = "true";
  try {
    await act();
  } finally {
    button.ariaDisabled = null;
  }
}

/** Make a line for refusals: {element, tell(act)}; tell does something, and says if it fails. */
export function refusalNote() {
  const element = h("p.note", { role: "status", hidden: true });

  async function tell(act) {
    show(element, false);
    try {
      await act();
    } catch (error) {
      setText(element, refusalWords(error));
      show(element, true);
    }
  }
  return { element, tell };
}
