/**
 * When to look at the workers again. Their heartbeats are no events, and who is not an operator
 * hears of no change of theirs: the list is asked for when something has happened that may have
 * changed it, and now and then while it is shown.
 */

const MOVES = new Set(["task_started", "task_reassigned", "task_finished"]);
const CHANGES = new Set(["agent_status_changed", "agent_registered"]);

const NOW_AND_THEN_MS = 5000;
/** Between two looks, whatever happens. What a worker says of itself comes as several events. */
const GAP_MS = 1000;

/** `look()` asks for the list (a promise); `any()` says whether there are workers to look after. */
export function worker_watch({ look, any }) {
  let timer = null;
  let due_ms = Number.POSITIVE_INFINITY;
  let looked_ms = Number.NEGATIVE_INFINITY;
  let looking = false;

  function at(when_ms) {
    if (when_ms >= due_ms) return;
    clearTimeout(timer);
    due_ms = when_ms;
    timer = setTimeout(run, Math.max(0, when_ms - performance.now()));
  }

  async function run() {
    due_ms = Number.POSITIVE_INFINITY;
    // A hidden page looks when it is seen again; a look that is under way is enough.
    if (document.hidden || looking) return;
    looking = true;
    looked_ms = performance.now();
    try {
      await look();
    } finally {
      looking = false;
      if (any()) at(looked_ms + NOW_AND_THEN_MS);
    }
  }

  function soon() {
    at(Math.max(performance.now(), looked_ms + GAP_MS));
  }

  document.addEventListener("visibilitychange", () => document.hidden || soon());
  return {
    /** Events have come: an operator's tell of workers, a user's of tasks that have moved. */
    heard(events) {
      if (events.some(({ type }) => CHANGES.has(type) || MOVES.has(type))) soon();
      // A loss is told before the process that takes its place is there.
      else if (events.some(({ error_type }) => error_type === "agent_lost")) soon();
    },
    /** The connection is new. */
    look: () => at(performance.now()),
  };
}
