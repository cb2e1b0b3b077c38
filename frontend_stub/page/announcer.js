/** What a screen reader hears: the newest words, after a pause, so that it is not flooded. */

import { sentence } from "./words.js";

const EVERY_MS = 1500;
const TOLD = new Set([
  "agent_error",
  "request_rejected",
  "graceful_degradation",
  "system_recovered",
]);

/** Make the announcer of an element with `aria-live`. */
export function announcer(place) {
  let timer = null;
  let nextWords = "";

  function say(words) {
    if (!words || words === nextWords) return;
    nextWords = words;
    timer ??= setTimeout(() => {
      timer = null;
      place.textContent = nextWords;
      nextWords = "";
    }, EVERY_MS);
  }

  /** Say the newest of these events that a person should hear of. */
  function sayNewest(events) {
    const told = events.findLast(({ type }) => TOLD.has(type));
    if (!told) return;
    const agent = told.agent_name ? `${told.agent_name}: ` : "";
    say(agent + sentence(told.user_message ?? told.message));
  }

  return { say, sayNewest };
}
