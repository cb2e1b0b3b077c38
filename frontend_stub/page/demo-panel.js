/**
 * The demonstration: what the model upstream does, agents to set off, and workers to kill. It is
 * shown only where the gateway runs as a demonstration, which its document says.
 */

import { h, icon, keyed, setText, show } from "./dom.js";
import { once } from "./refusals.js";
import { count, refusalWords } from "./words.js";

const BY_SCHEDULE = "schedule";
const SCHEDULED = {
  name: BY_SCHEDULE,
  title: "By schedule",
  description: "Two models, reading and general: each does what is listed for it, in turn",
};
const KILL_HINT = "Ends the process that writes an article. What it has written is kept.";
const OVERLOAD_HINT =
  "A crowd asks the clerk for 1,500 tasks in a few seconds. There is room for 200.";
/** The upstream is looked at once for all that happens within this time. */
const LOOK_AGAIN_MS = 300;

/**
 * @param {HTMLElement} section for the upstream
 * @param {HTMLElement} story for the buttons that set off the agents
 * @param {object} page fetch(path, options) with the page's credentials; ask(agent, question)
 */
export function demoPanel(section, story, page) {
  const calls = h("p.quiet");
  const choices = h("div.choices", { role: "radiogroup", "aria-labelledby": "demo-title" });
  const described = h("p.choice-more", { "aria-live": "polite" });
  const schedule = h("ol.schedule", { "aria-label": "The schedule" });
  const said = h("p.note", { role: "status", hidden: true });
  const kill = h("button.danger", { type: "button" }, icon("stop"), "Kill a worker");
  kill.addEventListener("click", killAWorker);
  const overload = h("button.danger", { type: "button" }, icon("warning"), "Overload");
  overload.addEventListener("click", makeARush);
  const buttons = h("div.story-buttons");
  section.append(
    h("div.section-head", {}, h("h2", { id: "demo-title" }, "What the model upstream does"), calls),
    choices, described, schedule,
    h("div.kill", {}, kill, h("p.quiet", {}, KILL_HINT)),
    h("div.kill", {}, overload, h("p.quiet", {}, OVERLOAD_HINT)),
    said,
  );
  story.append(h("p.story-title", { id: "story-title" }, "Run the story"), buttons);
  let askedAgain = null;
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
    const all = plan.length > 0 ? [SCHEDULED, ...faults] : faults;
    const offered = all.map((fault) => ({ ...fault, chosen: fault.name === mode }));
    keyed(choices, offered, ({ name }) => name, choice);
    setText(calls, `${count(many, "call")} so far`);
    setText(described, all.find(({ name }) => name === mode)?.description ?? "");
    show(described, Boolean(described.textContent));
    show(schedule, plan.length > 0 && mode === BY_SCHEDULE);
    // Several upstreams take their turns from one schedule, each at its own place.
    const turns = next ?? [many % plan.length];
    const planned = plan.map((name, at) => ({ name, at, next: turns.includes(at) }));
    keyed(schedule, planned, ({ at }) => at, turnLine);
  }

  function choice({ name }) {
    const onchange = () => set(name);
    const input = h("input", { type: "radio", name: "fault", value: name, onchange });
    const words = h("span");
    const element = h("label.choice", {}, input, words);
    function update(fault) {
      if (input.checked !== fault.chosen) input.checked = fault.chosen;
      setText(words, fault.title ?? fault.name);
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

  async function killAWorker() {
    await press(kill, "demo/workers/kill", ({ killed }) => `Process ${killed} was killed.`);
  }

  async function makeARush() {
    await press(overload, "demo/overload", ({ asked, accepted }) => {
      return `Of ${asked} tasks ${accepted} were taken, and ${asked - accepted} refused at once.`;
    });
  }

  /** Do what a button says, once at a time, and say by `words` what came of it. */
  async function press(button, path, words) {
    let done = null;
    await once(button, async () => (done = await tell(path, { method: "POST" })));
    if (!done) return;
    setText(said, words(done));
    said.classList.add("calm");
    show(said, true);
  }

  /** Ask the demonstration. Returns its answer, or null when it refused; the page says so then. */
  async function tell(path, options) {
    show(said, false);
    said.classList.remove("calm");
    try {
      const answer = await page.fetch(path, options);
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.detail ?? `the demonstration answered ${answer.status}`);
      return told;
    } catch (error) {
      setText(said, `That did not work: ${error.message}.`);
      show(said, true);
      return null;
    }
  }

  async function listAgents() {
    const given = await get("demo/agents");
    const items = given?.items ?? [];
    names = items.map((item) => item.name);
    buttons.replaceChildren(...items.map(storyButton));
    show(story, items.length > 0);
  }

  function storyButton({ name, title: words, prompt, description }) {
    const button = h(
      "button.story-button",
      {
        type: "button",
        "data-agent": name,
        title: description,
        onclick: () => once(button, () => ask(name, prompt ?? words ?? name)),
      },
      words ?? name,
    );
    return button;
  }

  async function ask(name, question) {
    show(said, false);
    try {
      await page.ask(name, question);
    } catch (error) {
      setText(said, refusalWords(error));
      show(said, true);
    }
  }

  return {
    /** Show the panel if this gateway is a demonstration; returns whether it is one. */
    async start() {
      const there = "demo" in document.documentElement.dataset && (await look());
      show(section, there);
      if (there) await listAgents();
      return there;
    },

    /** The agents of the demonstration. */
    agentNames: () => names,

    /** An agent may have called the upstream: look at it again, soon and once. */
    stir() {
      if (section.hidden || askedAgain !== null) return;
      askedAgain = setTimeout(() => {
        askedAgain = null;
        look();
      }, LOOK_AGAIN_MS);
    },
  };
}

function turnLine() {
  const words = h("span");
  const element = h("li", {}, words);
  function update({ name, next }) {
    setText(words, name);
    element.classList.toggle("next", next);
    if (next) element.setAttribute("aria-current", "step");
    else element.removeAttribute("aria-current");
  }
  return { element, update };
}
