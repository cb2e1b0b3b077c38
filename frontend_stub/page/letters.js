/**
 * The dead letters that the page knows, newest first: a page of them at a time, and what is done
 * to them. Events tell what becomes of a letter; what is in one is asked for.
 */

import { NoAnswer } from "../client/gateway-client.js";
import { liveAgain } from "./history.js";
import { requireRefusal } from "./refusals.js";
import { refusalWords, sentence } from "./words.js";

const PAGE = 50;
/** A letter holds its whole input: beyond this many the command line has the rest. */
const KEPT_MAX = 500;
/** Agents to choose from; clients name them. */
const AGENTS_MAX = 200;
/** Between two looks at the newest page. One outage comes as many letters. */
const GAP_MS = 1000;

/** @param {object} page link(): the link in use; may(): the visitor operates; changed() */
export function letterBook({ link, may, changed }) {
  let letters = new Map(); // task_id → letter, newest first
  let agent = ""; // the only agent whose letters are shown; "": all
  let agents = new Set(); // those that have been seen
  let cursor = null; // of the next page
  let isKnown = false;
  let version = 0;
  let timer = null;
  let lookedMs = Number.NEGATIVE_INFINITY;

  function change() {
    version += 1;
    changed();
  }

  /** Ask for a page, and let `use` take it; what was asked for by another visitor is left out. */
  async function ask(more, use) {
    const mine = link();
    const filter = agent;
    if (!(await liveAgain(mine.client)) || !mine.isCurrent() || !may()) return;
    const named = filter ? { agent: filter } : {};
    try {
      const page = await mine.client.call("dead_letter.list", { limit: PAGE, ...named, ...more });
      if (!mine.isCurrent() || filter !== agent) return;
      use(page);
      for (const { agent_name: name } of page.items) {
        if (name && agents.size < AGENTS_MAX) agents.add(name);
      }
      change();
    } catch (error) {
      requireRefusal(error);
      // Not permitted, or cut: asked for again when the connection is back.
    }
  }

  async function look() {
    timer = null;
    if (document.hidden) {
      isKnown = false; // looked at when it is seen again
      return;
    }
    lookedMs = performance.now();
    await ask({}, takeNewest);
  }

  function soon() {
    timer ??= setTimeout(look, Math.max(GAP_MS / 4, lookedMs + GAP_MS - performance.now()));
  }

  /** The newest page goes before what is known, unless there are letters between the two. */
  function takeNewest({ items, next }) {
    const before = letters;
    letters = new Map(items.map((letter) => [letter.task_id, same(letter, before)]));
    const last = items.at(-1)?.died_at ?? "";
    const isJoined = next !== null && items.some(({ task_id: taskId }) => before.has(taskId));
    const isOlder = (letter) => letter.died_at <= last && !letters.has(letter.task_id);
    const older = isJoined ? [...before.values()].filter(isOlder) : [];
    for (const letter of older) put(letter);
    if (older.length === 0) cursor = next;
    isKnown = true;
  }

  function put(letter) {
    if (letters.size < KEPT_MAX) letters.set(letter.task_id, letter);
  }

  /** Take one letter out of the book, or put another one in its place. */
  function replace(taskId, letter) {
    if (!letters.has(taskId)) return;
    if (letter === null) letters.delete(taskId);
    else letters.set(taskId, letter);
    change();
  }

  async function retry({ task_id: taskId }) {
    const made = await link().client.call("dead_letter.retry", { task_id: taskId });
    retried(taskId, made.task_id);
  }

  function retried(taskId, madeId) {
    const letter = letters.get(taskId);
    if (letter && letter.retried_as !== madeId) replace(taskId, { ...letter, retried_as: madeId });
  }

  document.addEventListener("visibilitychange", () => document.hidden || isKnown || soon());

  return {
    /** Grows with every change. */
    get version() {
      return version;
    },
    get letters() {
      return [...letters.values()];
    },
    get agents() {
      return [...agents].sort((one, two) => one.localeCompare(two));
    },
    get agent() {
      return agent;
    },
    /** Whether there are older ones to ask for, and room for them. */
    get hasMore() {
      return cursor !== null && letters.size < KEPT_MAX;
    },
    get isFull() {
      return cursor !== null && letters.size >= KEPT_MAX;
    },

    /** Ask for the newest, unless they are known. */
    open: () => isKnown || look(),

    /** Know nothing, as another visitor or after a new log. */
    forget() {
      letters = new Map();
      agents = new Set();
      agent = "";
      cursor = null;
      isKnown = false;
      change();
    },

    /** What is known may not be so any more. */
    doubt: () => (isKnown = false),

    /** Show the letters of one agent; "": of all. */
    narrow(name) {
      agent = name;
      letters = new Map();
      cursor = null;
      change();
      return look();
    },

    more() {
      return ask({ cursor }, ({ items, next }) => {
        for (const letter of items) put(same(letter, letters));
        cursor = next;
      });
    },

    heard(events) {
      for (const { type, action, task_id: taskId, retried_as: madeId } of events) {
        if (type !== "dead_letter_changed") continue;
        if (action === "retried") retried(taskId, madeId);
        else if (action === "discarded") replace(taskId, null);
        else if (may()) soon();
      }
    },

    retry,

    async discard({ task_id: taskId }) {
      await link().client.call("dead_letter.discard", { task_id: taskId });
      replace(taskId, null);
    },

    /**
     * Retry these, one after the other; `told(done)` before each. Gives {done, refused}: how many
     * were, and of the refusals {words, times}. A cut ends it.
     */
    async retryAll(wanted, told) {
      const refused = new Map();
      let done = 0;
      for (const letter of wanted) {
        told(done);
        try {
          await retry(letter);
          done += 1;
        } catch (error) {
          requireRefusal(error);
          if (error instanceof NoAnswer) {
            refused.set("", { words: sentence(error.message), times: 1 });
            break;
          }
          // The same refusal twice may name another time to wait.
          const key = `${letter.agent_name} ${error.data.code}`;
          const words = [letter.agent_name, refusalWords(error)].filter(Boolean).join(": ");
          refused.set(key, { words, times: (refused.get(key)?.times ?? 0) + 1 });
        }
      }
      return { done, refused: [...refused.values()] };
    },
  };
}

/** The letter as it was known, if it is the same: what is drawn of it stays. */
function same(letter, known) {
  const before = known.get(letter.task_id);
  return before && before.retried_as === letter.retried_as ? before : letter;
}
