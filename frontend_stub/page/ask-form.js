/** The form that starts a task. */

import { h, setText, show } from "./dom.js";
import { refusalWords } from "./words.js";

/** Refusals that come as an event too; the notices show it with its countdown. */
const TOLD_BY_EVENT = new Set([
  "circuit_breaker_open",
  "priority_load_shedding",
  "degraded_mode",
  "read_only",
  "draining",
  "rate_limited",
  "quarantined",
]);
/** The choice "another agent"; no agent can have this name. */
const OTHER = "\u0000other";

/** Draw the form in `place`. `ask(agent, question)` starts the task and may reject. */
export function askForm(place, { ask }) {
  const agent = h("select", { id: "ask-agent", name: "agent", required: true });
  const named = h("input", {
    id: "ask-named",
    name: "named",
    placeholder: "name of the agent",
    "aria-label": "Name of the agent",
    autocomplete: "off",
    spellcheck: "false",
    hidden: true,
  });
  const prompt = h("textarea", {
    id: "ask-prompt",
    name: "question",
    rows: "2",
    required: true,
    placeholder: "What should it do?",
    enterkeyhint: "send",
    "aria-describedby": "ask-hint",
  });
  const hint = h("p.hint", { id: "ask-hint" }, "Enter sends. Shift and Enter begin a new line.");
  const send = h("button.primary", { type: "submit" }, "Ask");
  const said = h("p.note", { role: "status", hidden: true });
  const pair = h("div.pair", {}, agent, named);
  const form = h(
    "form",
    { class: "ask-form" },
    h("div.field", {}, h("label", { for: "ask-agent" }, "Agent"), pair),
    h("div.field", {}, h("label", { for: "ask-prompt" }, "Question"), prompt, hint),
    send,
    said,
  );
  place.append(form);
  let names = null;
  let isNamed = false; // the visitor wants to type a name

  agent.addEventListener("change", () => {
    isNamed = agent.value === OTHER;
    choose();
  });
  prompt.addEventListener("keydown", (pressed) => {
    // An Enter that chooses among the signs of an input method ends no sentence.
    if (pressed.key !== "Enter" || pressed.shiftKey || pressed.isComposing) return;
    pressed.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    const name = agent.value === OTHER ? named.value.trim() : agent.value;
    const question = prompt.value;
    if (!name || !question.trim() || send.disabled) return;
    // Taken at once: a second Enter sends nothing twice, and the next question can be typed.
    prompt.value = "";
    show(said, false);
    try {
      await ask(name, question);
    } catch (error) {
      prompt.value = [question, prompt.value].filter(Boolean).join("\n");
      const told = TOLD_BY_EVENT.has(error.data?.code);
      setText(said, told ? "Not accepted just now; see below." : refusalWords(error));
      show(said, true);
    }
  });

  function choose() {
    const other = agent.value === OTHER;
    show(named, other);
    named.required = other;
  }

  return {
    /** Offer these names; another name can still be typed. */
    setAgents(list) {
      const next = [...new Set(list)];
      if (names !== null && next.join("\n") === names.join("\n")) return;
      const chosen = agent.value;
      names = next;
      agent.replaceChildren(
        ...names.map((name) => h("option", { value: name }, name)),
        h("option", { value: OTHER }, names.length > 0 ? "Another…" : "By name…"),
      );
      if (isNamed || names.includes(chosen)) agent.value = chosen;
      choose();
    },

    /** A task can be started only while the connection is live. */
    setLive(isLive) {
      send.disabled = !isLive;
    },
  };
}
