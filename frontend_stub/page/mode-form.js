/** What the gateway takes on, and why; an operator sets it here. */

import { h, keyed, setIcon, setText, show } from "./dom.js";
import { once, refusalNote } from "./refusals.js";
import { MODE_SHORT, lookup, sentence } from "./words.js";

/** The modes that an operator may set here, and what each does. `draining` is for its end. */
const OFFERED = [
  ["normal", "Everything is taken."],
  ["degraded", "New tasks of priority 6 to 10 are refused."],
  ["read_only", "New tasks are refused; what was accepted goes on."],
];

const WHY = {
  start: "as it began",
  overload: "for its load; it ends by itself",
  over: "its load is over",
  operator: "set by an operator, until an operator sets another",
};

/**
 * Draw the form in `place`.
 * @param {object} page get(), set(mode, note): promises of {mode, reason, note}
 */
export function modeForm(place, { get, set }) {
  let told = null; // {mode, reason, note}
  let asked = null; // the mode of the state when `told` was asked for
  let wanted = "normal";
  const mark = h("span.slot");
  const name = h("span.row-name");
  const why = h("span.row-what");
  const change = h("button", { type: "button", "aria-expanded": "false", onclick: turn }, "Change");
  const choices = h("div.choices", { role: "radiogroup", "aria-label": "Mode" });
  const described = h("p.choice-more", { "aria-live": "polite" });
  const note = h("input", {
    maxlength: "200",
    placeholder: "Why, for other operators",
    "aria-label": "Why, for other operators",
    autocomplete: "off",
  });
  const keep = h("button", { type: "button", onclick: close }, "Cancel");
  const sure = h("button.primary", { type: "submit" }, "Set");
  const refusal = refusalNote();
  const actions = h("div.mode-actions", {}, keep, sure);
  const form = h(
    "form.mode-form",
    { hidden: true, onsubmit: submit, onkeydown: pressed },
    choices, described, note, actions, refusal.element,
  );
  const head = h("div.mode-head", {}, mark, h("div", {}, name, why), change);
  place.append(head, form);

  function turn() {
    if (form.hidden) open();
    else close();
  }

  function open() {
    wanted = told?.mode ?? "normal";
    drawChoices();
    note.value = "";
    show(refusal.element, false);
    show(form, true);
    change.setAttribute("aria-expanded", "true");
    (form.querySelector("input:checked") ?? form.querySelector("input")).focus();
  }

  function close() {
    show(form, false);
    change.setAttribute("aria-expanded", "false");
    change.focus();
  }

  function pressed({ key }) {
    if (key === "Escape") close();
  }

  function drawChoices() {
    keyed(choices, OFFERED.map(([mode]) => ({ mode, isChosen: mode === wanted })), modeOf, choice);
    setText(described, OFFERED.find(([mode]) => mode === wanted)?.[1] ?? "");
  }

  function choice({ mode }) {
    const onchange = () => {
      wanted = mode;
      drawChoices();
    };
    const input = h("input", { type: "radio", name: "mode", value: mode, onchange });
    const [words] = lookup(MODE_SHORT, mode);
    const element = h("label.choice", {}, input, h("span", {}, words));
    return { element, update: ({ isChosen }) => (input.checked = isChosen) };
  }

  function submit(submitted) {
    submitted.preventDefault();
    once(sure, () => refusal.tell(setMode));
  }

  async function setMode() {
    tell(await set(wanted, note.value.trim()));
    close();
  }

  function tell(mode) {
    told = mode;
    asked = mode.mode;
    drawHead(mode.mode);
  }

  function drawHead(mode) {
    const [words, shape, tone] = lookup(MODE_SHORT, mode);
    head.className = `mode-head ${tone}`;
    head.dataset.mode = mode;
    setIcon(mark, shape);
    setText(name, `Mode: ${words}`);
    setText(why, told?.mode === mode ? whyWords(told) : "");
  }

  return {
    draw({ mode }) {
      if (asked === mode) return;
      asked = mode;
      drawHead(mode);
      get().then((answer) => answer && tell(answer));
    },
    /** Ask anew why it is so. */
    forget() {
      asked = null;
      told = null;
    },
  };
}

function whyWords({ mode, reason, note }) {
  const over = mode === "normal" && reason === "overload";
  return [sentence(WHY[over ? "over" : reason] ?? reason), note].filter(Boolean).join(" ");
}

function modeOf({ mode }) {
  return mode;
}
