/** The state of the connection and the story of the last reconnect, in one line. */

import { countdown } from "./countdown.js";
import { h, set_icon, set_text, show } from "./dom.js";
import { count, duration } from "./words.js";

const REFUSALS = {
  4500: "the token was not accepted",
  4501: "the gateway did not understand this page",
  4503: "this token may not read events",
};

export function connection_bar(place, { reconnect }) {
  const slot = h("span.slot");
  const words = h("span.connection-state");
  const story = h("span.connection-story");
  const pill = h("div.pill", {}, slot, h("span", {}, words, story));
  const button = h("button.plain", { type: "button", hidden: true, onclick: reconnect }, "Try now");
  place.append(pill, button);
  let missed = "";

  function draw(state) {
    const [shape, tone, said, rest] = tell(state);
    pill.className = `pill ${tone}`;
    pill.dataset.state = state.name;
    set_icon(slot, shape);
    set_text(words, said);
    const countdown_to =
      state.name === "waiting" ? state.next_try_at : state.name === "live" && state.drain ? state.drain.at_ms : null;
    countdown(story, null);
    set_text(story, rest);
    if (countdown_to !== null) {
      const before = state.name === "waiting" ? "next try" : "the gateway restarts, reconnecting";
      const say = (left_s) => (left_s > 0 ? `${before} in ${duration(left_s)}` : "trying now");
      countdown(story, countdown_to, say, Date.now);
    }
    show(story, Boolean(story.textContent));
    show(button, state.name === "waiting" || state.name === "closed");
    set_text(button, state.name === "closed" ? "Connect" : "Try now");
  }

  function tell(state) {
    switch (state.name) {
      case "connecting":
        return ["spinner", "busy", "Connecting", ""];
      case "replaying":
        return ["spinner", "busy", "Catching up", `${state.received} of ${state.expected}`];
      case "live":
        return state.quiet ? ["question", "warn", "Live", "no sign from the gateway, asking"] : ["link", "good", "Live", missed];
      case "waiting":
        return ["retry", "warn", "Connection lost", ""];
      default:
        return ["cross", "bad", "Not connected", REFUSALS[state.code] ?? String(state.reason ?? "").replaceAll("_", " ")];
    }
  }

  return {
    draw,
    /** What the last reconnect brought; null: nothing to tell. Shown from the next draw on. */
    tell_missed: (info) => (missed = info === null ? "" : missed_words(info)),
  };
}

export function missed_words(info) {
  if (info.complete) {
    return info.caught_up > 0 ? `caught up ${count(info.caught_up, "missed event")}` : "reconnected, nothing missed";
  }
  if (info.reason === "epoch_changed") return "the gateway started anew, shown from its snapshot";
  return "history no longer kept, shown from a snapshot";
}
