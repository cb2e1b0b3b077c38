/** What a user is told beside the tasks: refusals, ends of degradations, and notifications. */

import { countdown } from "./countdown.js";
import { h, icon, keyed, setIcon, setText, show } from "./dom.js";
import { clock, dataWords, duration } from "./words.js";

const NOTICES_SHOWN = 4;

/**
 * Draw the notices until the user dismisses them. `placeAfter` gets the keyboard's focus when the
 * button that had it goes away.
 */
export function notices(place, placeAfter) {
  const dismissed = new Set();
  let last = null;

  function draw(state) {
    last = state;
    const isOpen = ({ event }) => !dismissed.has(event.event_id) && !isOvertaken(event, state);
    const open = merged(state.notices).filter(isOpen);
    keyed(place, open.slice(-NOTICES_SHOWN).reverse(), ({ key }) => key, notice);
  }

  function notice() {
    let shown = null;
    const title = h("p.said");
    const more = h("p.more");
    const when = h("p.when");
    const mark = h("span.slot");
    const dismiss = () => {
      dismissed.add(shown.event_id);
      placeAfter.focus();
      draw(last);
    };
    const close = h(
      "button.plain.close",
      { type: "button", "aria-label": "Dismiss", onclick: dismiss },
      icon("cross"),
    );
    const element = h("div.notice", {}, mark, h("div", {}, title, more, when), close);

    function update({ event, many, users }) {
      shown = event;
      const { shape, tone, said, rest } = TOLD[event.type](event, many, users);
      element.className = `notice ${tone}`;
      element.dataset.type = event.type;
      setIcon(mark, shape);
      setText(title, said);
      setText(more, rest);
      show(more, Boolean(rest));
      tellWait(when, event);
    }
    return { element, update };
  }
  return { draw };
}

/** Refusals of all users by one agent for one reason are shown as one, with how many they were. */
function merged(all) {
  const shown = new Map();
  for (const event of all) {
    const { type, agent_name: agent, reason, user_id: user, count: some = 1 } = event;
    const key = type === "request_rejected" ? [type, agent, reason].join(" ") : event.event_id;
    const before = shown.get(key) ?? { many: 0, users: [] };
    shown.delete(key);
    shown.set(key, { key, event, many: before.many + some, users: [...before.users, user] });
  }
  return [...shown.values()];
}

/** The end of a degradation is no news while the next one is there. */
function isOvertaken(event, { mode, degradations }) {
  if (event.type !== "system_recovered") return false;
  if (event.scope === "mode") return mode !== "normal";
  return degradations.has(event.degradation_id);
}

/** Event type → how it is told. */
const TOLD = {
  request_rejected(event, many, { length: users }) {
    const said = [event.agent_name, event.user_message].filter(Boolean).join(": ");
    const of = users > 1 ? `, to ${users} users` : "";
    return { shape: "info", tone: "warn", said, rest: many > 1 ? `Said ${many} times${of}` : "" };
  },

  system_recovered({ user_message: said, recovery_time: tookS, timestamp }) {
    const lasted = tookS > 0 ? `It lasted ${duration(tookS)}, until` : "Since";
    return { shape: "check", tone: "good", said, rest: `${lasted} ${clock(timestamp)}` };
  },

  notification({ subject, payload, sender, channel, timestamp }) {
    const from = [sender && `from ${sender}`, channel && `in ${channel}`, clock(timestamp)];
    const said = [subject, messageWords(payload)].filter(Boolean).join(": ");
    return { shape: "info", tone: "busy", said, rest: from.filter(Boolean).join(" · ") };
  },
};

function messageWords(payload) {
  return payload === null || payload === undefined ? "" : dataWords(payload);
}

function tellWait(element, { type, timestamp, retry_after: waitS }) {
  const waits = type === "request_rejected" && waitS > 0;
  show(element, waits);
  countdown(element, waits ? Date.parse(timestamp) + waitS * 1000 : null, (leftS) =>
    leftS > 0 ? `You can try again in ${duration(leftS)}` : "You can try again now",
  );
}
