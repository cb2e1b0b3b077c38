/**
 * When to look at the workers again.
 *
 * Heartbeats of workers are no events, and only operators get events about workers. So the list
 * is asked for when an event may have changed it, and now and then while it is shown.
 */

const MOVES = new Set(["task_started", "task_reassigned", "task_finished"]);
const CHANGES = new Set(["agent_status_changed", "agent_registered"]);

const NOW_AND_THEN_MS = 5000;
/** Between two looks at least. One change of a worker comes as several events. */
const GAP_MS = 1000;

/** `look()` asks for the list (a promise); `any()` says whether there are workers to watch. */
export function workerWatch({ look, any }) {
  let timer = null;
  let dueMs = Number.POSITIVE_INFINITY;
  let lookedMs = Number.NEGATIVE_INFINITY;
  let looking = false;

  function at(whenMs) {
    if (whenMs >= dueMs) return;
    clearTimeout(timer);
    dueMs = whenMs;
    timer = setTimeout(run, Math.max(0, whenMs - performance.now()));
  }

  async function run() {
    dueMs = Number.POSITIVE_INFINITY;
    // A hidden page looks when it is seen again; a look that is under way is enough.
    if (document.hidden || looking) return;
    looking = true;
    lookedMs = performance.now();
    try {
      await look();
    } finally {
      looking = false;
      if (any()) at(lookedMs + NOW_AND_THEN_MS);
    }
  }

  function soon() {
    at(Math.max(performance.now(), lookedMs + GAP_MS));
  }

  document.addEventListener("visibilitychange", () => document.hidden || soon());
  return {
    /** Events have come. An operator's tell of workers, a user's of tasks that have moved. */
    heard(events) {
      const isChange = ({ type }) => CHANGES.has(type) || MOVES.has(type);
      // A loss is told before the process that takes the worker's place is there.
      const isLoss = ({ error_type: errorType }) => errorType === "agent_lost";
      if (events.some(isChange) || events.some(isLoss)) soon();
    },

    /** The connection is new. */
    look: () => at(performance.now()),
  };
}
