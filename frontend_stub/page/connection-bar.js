/** The connection's state and the story of the last reconnect, in one line. */

import { countdown } from "./countdown.js";
import { h, setIcon, setText, show } from "./dom.js";
import { clock, count, duration } from "./words.js";

const REFUSALS = {
  4500: "the token was not accepted",
  4501: "the gateway did not understand this page",
  4503: "this token may not read events",
};

/** Draw the connection in `place`; `reconnect()` tries at once. */
export function connectionBar(place, { reconnect }) {
  const slot = h("span.slot");
  const words = h("span.connection-state");
  const story = h("span.connection-story");
  const pill = h("div.pill", {}, slot, h("span", {}, words, story));
  const button = h("button.plain", { type: "button", hidden: true, onclick: reconnect }, "Try now");
  place.append(pill, button);
  let missed = "";
  let wasLive = false;
  let liveAt = null; // when the page was last up to date, in ms of this computer's clock

  function draw(state) {
    if (state.name === "live" || wasLive) liveAt = Date.now();
    wasLive = state.name === "live";
    const [shape, tone, said, rest] = tell(state);
    pill.className = `pill ${tone}`;
    pill.dataset.state = state.name;
    setIcon(slot, shape);
    setText(words, said);
    countdown(story, null);
    setText(story, rest);
    const [untilMs, before] = nextTry(state);
    if (untilMs !== null) {
      const next = (leftS) => (leftS > 0 ? `${before} in ${duration(leftS)}` : "trying now");
      const say = (leftS) => told(state.name === "live" ? "" : rest, next(leftS));
      countdown(story, untilMs, say, Date.now);
    }
    show(story, Boolean(story.textContent));
    show(button, state.name === "waiting" || state.name === "closed");
    setText(button, state.name === "closed" ? "Connect" : "Try now");
  }

  function tell(state) {
    switch (state.name) {
      case "connecting":
        return ["spinner", "busy", "Connecting", asOf()];
      case "replaying":
        return ["spinner", "busy", "Catching up", `${state.received} of ${state.expected}`];
      case "live":
        if (!state.quiet) return ["link", "good", "Live", missed];
        return ["question", "warn", "Live", "no sign from the gateway, asking"];
      case "waiting":
        if (liveAt === null) return ["retry", "warn", "No connection yet", ""];
        return ["retry", "warn", "Connection lost", asOf()];
      default:
        return ["cross", "bad", "Not connected", told(refusal(state), asOf())];
    }
  }

  /** As of when all that is shown is known. */
  function asOf() {
    return liveAt === null ? "" : `as of ${clock(liveAt)}`;
  }

  return {
    draw,
    /** Another visitor: what is known begins anew. */
    forget() {
      liveAt = null;
      wasLive = false;
    },
    /** What the last reconnect brought; null: nothing to tell. Shown from the next draw on. */
    tellMissed: (info) => (missed = info === null ? "" : missedWords(info)),
  };
}

function told(...parts) {
  return parts.filter(Boolean).join(" · ");
}

/** When the client tries next and what that is called, if it has said so: [ms, words]. */
function nextTry({ name, next_try_at: atMs, drain }) {
  if (name === "waiting") return [atMs, "next try"];
  if (name === "live" && drain) return [drain.at_ms, "the gateway restarts, reconnecting"];
  return [null, ""];
}

function refusal({ code, reason }) {
  return REFUSALS[code] ?? String(reason ?? "").replaceAll("_", " ");
}

/** What the client's `missed` says, in words. */
export function missedWords(info) {
  if (info.complete && info.caught_up > 0) {
    return `caught up ${count(info.caught_up, "missed event")}`;
  }
  if (info.complete) return "reconnected, nothing missed";
  if (info.reason === "epoch_changed") return "the gateway started anew, shown from its snapshot";
  return "history no longer kept, shown from a snapshot";
}
