/**
 * The demonstration: what the model upstream does, agents to set off, and workers to kill. Shown
 * only where the gateway is run as a demonstration, that is, where GET demo/upstream answers.
 */

import { h, icon, keyed, set_text, show } from "./dom.js";
import { count, refusal_words } from "./words.js";

const BY_SCHEDULE = "schedule";

/**
 * @param {HTMLElement} section for the upstream
 * @param {HTMLElement} story for the buttons that set off the agents
 * @param {object} page fetch(path, options) with the page's credentials; ask(agent, question)
 */
export function demo_panel(section, story, page) {
  const calls = h("p.quiet");
  const choices = h("div.choices", { role: "radiogroup", "aria-labelledby": "demo-title" });
  const described = h("p.choice-more", { "aria-live": "polite" });
  const schedule = h("ol.schedule", { "aria-label": "The schedule" });
  const said = h("p.note", { role: "status", hidden: true });
  const kill = h("button.danger", { type: "button", onclick: kill_a_worker }, icon("stop"), "Kill a worker");
  const buttons = h("div.story-buttons");
  section.append(
    h("div.section-head", {}, h("h2", { id: "demo-title" }, "What the model upstream does"), calls),
    choices, described, schedule,
    h("div.kill", {}, kill, h("p.quiet", {}, "Ends the process that writes an article. What it has written is kept.")),
    said,
  );
  story.append(h("p.story-title", { id: "story-title" }, "Run the story"), buttons);
  let asked_again = null;
  let names = [];

  async function look() {
    const given = await get("demo/upstream");
    if (!given) return false;
    draw(given);
    return true;
  }

  async function get(path) {
    try {
      const answer = await page.fetch(path);
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }

  function draw({ faults = [], schedule: plan = [], mode = BY_SCHEDULE, calls: many = 0, next }) {
    const all = [
      ...(plan.length > 0 ? [{ name: BY_SCHEDULE, title: "By schedule", description: "One after the other, as listed below" }] : []),
      ...faults,
    ];
    keyed(choices, all.map((fault) => ({ ...fault, chosen: fault.name === mode })), ({ name }) => name, choice);
    set_text(calls, `${count(many, "call")} so far`);
    set_text(described, all.find(({ name }) => name === mode)?.description ?? "");
    show(described, Boolean(described.textContent));
    show(schedule, plan.length > 0 && mode === BY_SCHEDULE);
    // Several upstreams take their turns from one schedule, each at its own place.
    const turns = next ?? [many % plan.length];
    keyed(schedule, plan.map((name, at) => ({ name, at, next: turns.includes(at) })), ({ at }) => at, turn_line);
  }

  function choice({ name }) {
    const input = h("input", { type: "radio", name: "fault", value: name, onchange: () => set(name) });
    const words = h("span");
    const element = h("label.choice", {}, input, words);
    function update(fault) {
      if (input.checked !== fault.chosen) input.checked = fault.chosen;
      set_text(words, fault.title ?? fault.name);
    }
    return { element, update };
  }

  async function set(mode) {
    await tell("demo/upstream", {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ mode }),
    });
    await look();
  }

  async function kill_a_worker() {
    if (kill.ariaDisabled === "true") return;
    kill.ariaDisabled = "true";
    const done = await tell("demo/workers/kill", { method: "POST" });
    kill.ariaDisabled = null;
    if (!done) return;
    set_text(said, `Process ${done.killed} was killed.`);
    show(said, true);
  }

  /** Returns the answer, or null when it did not work, which is said. */
  async function tell(path, options) {
    show(said, false);
    try {
      const answer = await page.fetch(path, options);
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.detail ?? `the demonstration answered ${answer.status}`);
      return told;
    } catch (error) {
      set_text(said, `That did not work: ${error.message}.`);
      show(said, true);
      return null;
    }
  }

  async function list_agents() {
    const given = await get("demo/agents");
    const items = given?.items ?? [];
    names = items.map((item) => item.name);
    buttons.replaceChildren(...items.map(story_button));
    show(story, items.length > 0);
  }

  function story_button({ name, title: words, prompt, description }) {
    const button = h(
      "button.story-button",
      {
        type: "button",
        "data-agent": name,
        title: description,
        onclick: async () => {
          if (button.ariaDisabled === "true") return;
          button.ariaDisabled = "true";
          show(said, false);
          try {
            await page.ask(name, prompt ?? words ?? name);
          } catch (error) {
            set_text(said, refusal_words(error));
            show(said, true);
          } finally {
            button.ariaDisabled = null;
          }
        },
      },
      words ?? name,
    );
    return button;
  }

  return {
    async start() {
      const there = await look();
      show(section, there);
      if (there) await list_agents();
      return there;
    },
    agent_names: () => names,
    /** Something happened that may have called the upstream; look again, soon and once. */
    stir() {
      if (section.hidden || asked_again !== null) return;
      asked_again = setTimeout(() => {
        asked_again = null;
        look();
      }, 300);
    },
  };
}

function turn_line() {
  const words = h("span");
  const element = h("li", {}, words);
  function update({ name, next }) {
    set_text(words, name);
    element.classList.toggle("next", next);
    if (next) element.setAttribute("aria-current", "step");
    else element.removeAttribute("aria-current");
  }
  return { element, update };
}
