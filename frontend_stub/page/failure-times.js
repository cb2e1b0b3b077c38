/**
 * The failures of the last hour, by agent and code, counted by the minute.
 *
 * Nothing here reads a clock. What is older than an hour, or of a kind beyond the bound, goes.
 */

/** As many bars has a picture. */
export const MINUTES = 60;
const MINUTE_MS = 60_000;
/** Agents and codes are named by others; beyond this the kind that is longest silent goes. */
const KINDS_MAX = 200;

/** Make the counts; all begin at nothing. */
export function failureTimes() {
  const kinds = new Map(); // key → {key, agent, code, newestMs, byMinute}, newest at the end

  return {
    /** Count one `agent_error`. */
    add({ agent_name: agent, error_code: code, timestamp }) {
      const atMs = Date.parse(timestamp);
      if (Number.isNaN(atMs)) return;
      const key = JSON.stringify([agent, code]);
      const kind = kinds.get(key) ?? { key, agent, code, newestMs: 0, byMinute: new Map() };
      kinds.delete(key);
      kinds.set(key, kind);
      kind.newestMs = Math.max(kind.newestMs, atMs);
      const minute = Math.floor(atMs / MINUTE_MS);
      kind.byMinute.set(minute, (kind.byMinute.get(minute) ?? 0) + 1);
      if (kind.byMinute.size > 2 * MINUTES) trim(kind);
      if (kinds.size > KINDS_MAX) kinds.delete(kinds.keys().next().value);
    },

    /**
     * Give the kinds that failed within the hour up to `nowMs`, the most frequent first: {key,
     * agent, code, newestMs, total, bars}, of the bars the last one for this minute.
     */
    rows(nowMs) {
      const last = Math.floor(nowMs / MINUTE_MS);
      const rows = [];
      for (const { byMinute, ...kind } of kinds.values()) {
        const bars = Array.from({ length: MINUTES }, (_, at) => {
          return byMinute.get(last - MINUTES + 1 + at) ?? 0;
        });
        const total = bars.reduce((sum, one) => sum + one, 0);
        if (total > 0) rows.push({ ...kind, total, bars });
      }
      return rows.sort((one, two) => two.total - one.total || two.newestMs - one.newestMs);
    },

    clear: () => kinds.clear(),
  };
}

/** Forget the minutes of a kind that no picture shows any more. */
function trim(kind) {
  const oldest = Math.floor(kind.newestMs / MINUTE_MS) - MINUTES;
  for (const minute of kind.byMinute.keys()) if (minute < oldest) kind.byMinute.delete(minute);
}
