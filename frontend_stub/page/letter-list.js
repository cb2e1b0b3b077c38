/** The section of dead letters: tasks that were given up, to be tried again or let go. */

import { askedTwice } from "./asked-twice.js";
import { h, keyed, setText, show } from "./dom.js";
import { letterRow } from "./letter-row.js";
import { count } from "./words.js";

/** Drawn at first, so that the tasks below are not far away; a page more at each wish. */
const SHOWN_AT_FIRST = 5;
const SHOWN_MORE = 50;
const REFUSALS_TOLD = 5;

/**
 * @param {HTMLElement} section takes the keyboard's focus when a letter goes away that had it
 * @param {object} book of `letters.js`
 * @param {object} page may(): the visitor operates; total(): how many letters the gateway has
 */
export function letterList(section, book, { may, total }) {
  let shown = SHOWN_AT_FIRST;
  let wasShown = false;
  let drawn = "";
  const summary = h("p.quiet");
  const title = h("h2", { id: "letters-title" }, "Dead letters");
  const narrow = h("select", { "aria-label": "Letters of which agent", onchange: choose });
  const retryAll = askedTwice({
    label: "Retry all",
    shape: "retry",
    question: () => `Retry ${count(open().length, "letter")}?`,
    yes: "Retry",
    act: runAll,
  });
  const note = h("p.note", { role: "status", hidden: true });
  const nothing = h("p.quiet", {}, "None.");
  const list = h("ul.letter-list");
  const more = h("button.plain", { type: "button", hidden: true, onclick: showMore });
  const full = h("p.quiet", {}, "Older ones: gateway dead-letters list");
  const bar = h("div.letters-bar", {}, narrow, retryAll.element);
  const head = h("div.section-head", {}, title, summary);
  section.append(head, bar, note, nothing, list, more, full);

  /** Those that are shown and not tried again yet. */
  function open() {
    return book.letters.slice(0, shown).filter((letter) => !letter.retried_as);
  }

  function choose() {
    shown = SHOWN_AT_FIRST;
    show(note, false);
    book.narrow(narrow.value);
  }

  async function showMore() {
    const before = list.childElementCount;
    shown += SHOWN_MORE;
    if (book.letters.length < shown && book.hasMore) await book.more();
    const hadFocus = document.activeElement === more;
    draw();
    if (hadFocus && more.hidden) list.children[before]?.focus();
  }

  async function runAll() {
    const wanted = open();
    show(note, true);
    note.classList.add("calm");
    const { done, refused } = await book.retryAll(wanted, (far) =>
      setText(note, `Retrying ${far + 1} of ${wanted.length} …`),
    );
    note.classList.toggle("calm", refused.length === 0);
    setText(note, resultWords(done, wanted.length, refused));
  }

  function draw() {
    const isNew = [book.version, shown, total(), may()].join(" ");
    if (isNew === drawn) return;
    drawn = isNew;
    const { letters, agent } = book;
    wasShown = may() && (wasShown || letters.length > 0);
    show(section, wasShown);
    if (!wasShown) {
      show(note, false);
      shown = SHOWN_AT_FIRST;
    }
    const items = may() ? letters.slice(0, shown) : [];
    keepFocus(items);
    keyed(list, items, (letter) => letter.task_id, () => letterRow(book));
    const all = agent ? letters.length : Math.max(total(), letters.length);
    const many = agent && book.hasMore ? `more than ${all}` : all;
    setText(summary, items.length < all ? `the newest ${items.length} of ${many}` : `${many}`);
    offerAgents(book.agents, agent);
    const left = open().length;
    if (left === 0 && retryAll.element.contains(document.activeElement)) section.focus();
    retryAll.offer(left > 0);
    retryAll.say(left > 1 ? `Retry all ${left} shown` : "Retry all");
    show(nothing, letters.length === 0);
    show(more, letters.length > shown || book.hasMore);
    const next = book.hasMore ? SHOWN_MORE : Math.min(SHOWN_MORE, letters.length - shown);
    setText(more, `Show ${next} more`);
    show(full, book.isFull && letters.length <= shown);
  }

  /** A letter that goes away must not take the keyboard's place on the page with it. */
  function keepFocus(items) {
    const row = document.activeElement?.closest("[data-letter]");
    if (!row || !list.contains(row)) return;
    const stays = items.some(({ task_id: taskId }) => taskId === row.dataset.letter);
    if (!stays) section.focus();
  }

  function offerAgents(names, chosen) {
    const key = names.join("\n");
    show(narrow, names.length > 1 || chosen !== "");
    if (narrow.dataset.names === key) return;
    narrow.dataset.names = key;
    const one = (name) => h("option", { value: name }, name);
    narrow.replaceChildren(h("option", { value: "" }, "All agents"), ...names.map(one));
    narrow.value = chosen;
  }

  return { draw };
}

/** What came of it: how many are tried again, and why the others are not. */
function resultWords(done, wanted, refused) {
  const told = refused.slice(0, REFUSALS_TOLD);
  const many = wanted - done;
  const said = [`${done} of ${wanted} tried again.`];
  if (many > 0) said.push(`${many} not:`);
  for (const { words, times } of told) said.push(times > 1 ? `${words} (${times} times)` : words);
  const left = refused.length - told.length;
  if (left > 0) said.push(`And for ${count(left, "other reason")}.`);
  return said.join(" ");
}
