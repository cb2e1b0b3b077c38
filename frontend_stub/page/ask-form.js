/** The form that starts a task, and the one that signs in. */

import { h, set_text, show } from "./dom.js";
import { refusal_words } from "./words.js";

/** Refusals that come as an event too, which the notices show with its countdown. */
const TOLD_BY_EVENT = new Set([
  "circuit_breaker_open", "priority_load_shedding", "degraded_mode", "read_only", "draining", "rate_limited", "quarantined",
]);

export function ask_form(place, { ask }) {
  const agent = h("select", { id: "ask-agent", name: "agent", required: true });
  const named = h("input", { id: "ask-named", name: "named", placeholder: "name of the agent", "aria-label": "Name of the agent", autocomplete: "off", spellcheck: "false", hidden: true });
  const prompt = h("textarea", { id: "ask-prompt", name: "question", rows: "2", required: true, placeholder: "What should it do?" });
  const send = h("button.primary", { type: "submit" }, "Ask");
  const said = h("p.note", { role: "status", hidden: true });
  const form = h(
    "form", { class: "ask-form" },
    h("div.field", {}, h("label", { for: "ask-agent" }, "Agent"), h("div.pair", {}, agent, named)),
    h("div.field", {}, h("label", { for: "ask-prompt" }, "Question"), prompt),
    send,
    said,
  );
  place.append(form);
  const OTHER = "\u0000other";
  let names = null;

  agent.addEventListener("change", choose);
  prompt.addEventListener("keydown", (pressed) => {
    if (pressed.key === "Enter" && (pressed.ctrlKey || pressed.metaKey)) form.requestSubmit();
  });
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    const name = agent.value === OTHER ? named.value.trim() : agent.value;
    if (!name || !prompt.value.trim() || send.ariaDisabled === "true") return;
    send.ariaDisabled = "true";
    show(said, false);
    try {
      await ask(name, prompt.value);
      prompt.value = "";
    } catch (error) {
      const told = TOLD_BY_EVENT.has(error.data?.code);
      set_text(said, told ? "Not accepted just now; see below." : refusal_words(error));
      show(said, true);
    } finally {
      send.ariaDisabled = null;
    }
  });

  function choose() {
    const other = agent.value === OTHER;
    show(named, other);
    named.required = other;
  }

  return {
    /** Names to choose from; typing another one stays possible. */
    set_agents(list) {
      const next = [...new Set(list)];
      if (names !== null && next.join("\n") === names.join("\n")) return;
      const chosen = agent.value;
      names = next;
      agent.replaceChildren(
        ...names.map((name) => h("option", { value: name }, name)),
        h("option", { value: OTHER }, names.length > 0 ? "Another…" : "By name…"),
      );
      if (chosen && names.includes(chosen)) agent.value = chosen;
      choose();
    },
    set_live(is_live) {
      send.disabled = !is_live;
    },
  };
}

export function sign_in_form(section, { sign_in }) {
  const token = h("input", { id: "token", type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const why = h("p");
  section.append(
    h("h2", { id: "sign-in-title" }, "This gateway asks for a token"),
    why,
    h("form", {
      class: "sign-in-form",
      onsubmit: (submitted) => {
        submitted.preventDefault();
        sign_in(token.value.trim());
        token.value = "";
      },
    },
    h("div.field", {}, h("label", { for: "token" }, "Token"), token),
    h("button.primary", { type: "submit" }, "Connect")),
    h("p.quiet", {}, "It is kept in this tab until you close it. An operator makes one with: gateway token --user NAME"),
  );
  return {
    draw(visible, reason) {
      if (visible && section.hidden) {
        show(section, true);
        token.focus();
      }
      if (!visible) show(section, false);
      set_text(why, reason);
      show(why, Boolean(reason));
    },
  };
}

/** Whom one plays on a gateway without a secret; with a token, who one is. */
export function identity(place, { switch_to }) {
  const name = h("input", { id: "user", name: "user", autocomplete: "off", spellcheck: "false", placeholder: "everyone", pattern: "[A-Za-z0-9._~@:\\-]{1,128}", title: "Letters, digits and . _ ~ @ : - ; empty for an operator" });
  const apply = h("button", { type: "submit" }, "Switch");
  const form = h("form", {
    class: "identity-form",
    onsubmit: (submitted) => {
      submitted.preventDefault();
      switch_to(name.value.trim() || null);
    },
  }, h("label", { for: "user" }, "User"), name, apply);
  const role = h("span.role");
  place.append(form, role);
  return {
    draw({ user, session, with_token }) {
      show(form, !with_token);
      if (document.activeElement !== name) name.value = user ?? "";
      const operator = session?.scopes?.includes("admin") ? "operator" : "";
      set_text(role, [with_token ? session?.user_id : "", operator].filter(Boolean).join(" · "));
      show(role, Boolean(role.textContent));
    },
  };
}
