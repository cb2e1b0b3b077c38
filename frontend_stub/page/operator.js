/**
 * The operator's part of the page: what was given up, what fails, how full the queue is, and the
 * means to change it. A visitor who does not operate the gateway sees nothing of it, and nothing
 * is asked for in that visitor's name.
 */

import { show } from "./dom.js";
import { failureBars } from "./failure-bars.js";
import { failuresBefore } from "./failure-history.js";
import { failureTimes } from "./failure-times.js";
import { letterBook } from "./letters.js";
import { letterList } from "./letter-list.js";
import { modeForm } from "./mode-form.js";
import { overview } from "./overview.js";
import { requireRefusal } from "./refusals.js";

const BREAKERS_MAX = 200;
const NONE = new Map();
const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;

/**
 * @param {function(string): HTMLElement} at gives an element of the document by its id
 * @param {object} page link(): the link in use; isForAll(): tasks of all users are shown; counts():
 *   of `figures.js`, and countAgain(): asks for them; changed(): something is to be drawn
 */
export function operatorPart(at, { link, isForAll, counts, countAgain, changed }) {
  const times = failureTimes();
  let position = null; // of the snapshot: the failures up to it are asked for, later ones come
  let asked = null; // the position up to which they are asked for now
  let fromMs = null; // since when no failure is missing; null: that is not known yet
  let version = 0;
  let listed = new Map(); // key → breaker with its counts, closed ones that no event told of, too

  const may = () => isForAll() && (link()?.client.session?.scopes ?? []).includes("admin");
  const call = (method, params) => link().client.call(method, params);
  const book = letterBook({ link, may, changed });
  const total = () => counts().dead_letters?.total ?? 0;
  const letters = letterList(at("letters"), book, { may, total });
  const bars = failureBars(at("failures"), {
    rows: (nowMs) => (may() ? times.rows(nowMs) : []),
    now: () => link().client.serverNow(),
    version: () => `${version} ${may()}`,
    since: () => (fromMs !== null && fromMs > link().client.serverNow() - HOUR_MS ? fromMs : null),
  });
  const mode = modeForm(at("mode-now"), {
    get: () => call("mode.get", {}).catch(nothing),
    set: (wanted, note) => call("mode.set", { mode: wanted, ...(note ? { note } : {}) }),
  });
  const now = overview(at("overview"), counts, async (upstream) => {
    // Of a user's own agents, too: the hold of those has the user's name behind it.
    await call("breaker.close", { name: upstream.split(" of ")[0] });
    countAgain();
  });

  function draw(state) {
    show(at("now"), may());
    letters.draw();
    bars.draw();
    if (!may()) return;
    now.draw();
    mode.draw(state);
  }

  function count(events) {
    for (const event of events) {
      if (event.type === "agent_error") times.add(event);
    }
    version += 1;
  }

  /** Ask for the failures before the snapshot, unless that is done or under way. */
  async function lookBack() {
    if (position === null || fromMs !== null || asked === position) return;
    const since = position;
    asked = since;
    const found = await failuresBefore(link(), since);
    if (asked === since) asked = null;
    if (found === null || since !== position) return;
    fromMs = found.sinceMs;
    count(found.events);
    changed();
  }

  /** Ask for the breakers: of one that is closed there may have been no event. */
  async function look() {
    const mine = link();
    if (!may() || mine.client.state.name !== "live") return;
    const answer = await call("breaker.list", { limit: BREAKERS_MAX }).catch(nothing);
    if (answer === null || !mine.isCurrent()) return;
    const ofCalls = answer.items.filter(({ scope }) => scope !== "domain");
    listed = new Map(ofCalls.map((breaker) => [breaker.name, breaker]));
    changed();
  }

  // A minute later each picture is another one.
  setInterval(() => document.hidden || changed(), MINUTE_MS / 2);

  return {
    draw,
    may,
    look,

    /** Another visitor, or the same one anew. */
    forget() {
      position = null;
      fromMs = null;
      times.clear();
      version += 1;
      listed = new Map();
      book.forget();
      mode.forget();
    },

    /** Events up to this position are asked for; those after it will be heard. */
    open(since) {
      if (!may()) return;
      position = since;
      fromMs = null;
      times.clear();
      book.doubt();
      book.open();
      mode.forget();
      lookBack();
    },

    /** The connection is live again. */
    live() {
      if (!may()) return;
      book.open();
      lookBack();
    },

    heard(events) {
      if (!may()) return;
      book.heard(events);
      const isNew = ({ type, epoch, offset }) =>
        type === "agent_error" && epoch === position?.epoch && offset > position.offset;
      const failures = events.filter(isNew);
      if (failures.length > 0) count(failures);
      if (events.some(({ type }) => type === "mode_changed")) mode.forget();
    },

    breaker: {
      may,
      listed: () => (may() ? listed : NONE),
      open: ({ name, scope }) => call("breaker.open", { name, ...scopeOf(scope) }),
      close: ({ name, scope }) => call("breaker.close", { name, ...scopeOf(scope) }),
    },
  };
}

/** The scope of a breaker, where the gateway takes it. */
function scopeOf(scope) {
  return ["agent", "upstream", "domain"].includes(scope) ? { scope } : {};
}

function nothing(error) {
  requireRefusal(error);
  return null;
}
