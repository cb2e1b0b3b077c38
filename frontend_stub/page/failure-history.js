/**
 * The failures before the page was opened: read backwards from the log's newest event, a window of
 * offsets at a time, until an hour is told or a bound is reached.
 */

import { liveAgain } from "./history.js";
import { requireRefusal } from "./refusals.js";

const HOUR_MS = 3_600_000;
/** A window is wider where little fails; for one call the gateway looks at so many offsets. */
const WIDTH_FIRST = 2_000;
const WIDTH_MAX = 10_000;
const WINDOWS_READ = 12;
const PAGES_PER_WINDOW = 4;
const EVENTS_PER_PAGE = 500;
/** No window is begun beyond these. */
const EVENTS_READ = 5_000;

/**
 * Give {events, sinceMs}: the failures up to `offset`, and since when none is missing; null: no
 * answer, or the page has begun anew. `link` as in `history.js`.
 */
export async function failuresBefore(link, { epoch, offset }) {
  const { client } = link;
  if (!(await liveAgain(client)) || !link.isCurrent()) return null;
  const nowMs = client.serverNow();
  const hourAgoMs = nowMs - HOUR_MS;
  const events = [];
  let sinceMs = nowMs;
  let before = offset;
  let width = WIDTH_FIRST;
  try {
    for (let read = 0; read < WINDOWS_READ && before > 0 && sinceMs > hourAgoMs; read += 1) {
      if (events.length >= EVENTS_READ) break;
      const after = Math.max(0, before - width);
      const since = `${epoch}:${after}`;
      const found = await failuresWithin(client, since, before);
      if (!link.isCurrent()) return null;
      if (found === null) {
        width = Math.ceil(width / 4); // they are large
        continue;
      }
      if (found.length < EVENTS_PER_PAGE) width = Math.min(WIDTH_MAX, 5 * width);
      const edge = await client.call("event.list", { topic: "*", since, limit: 1 });
      events.push(...found);
      sinceMs = Date.parse(edge.items[0]?.timestamp) || sinceMs;
      before = after;
    }
    return { events, sinceMs: before === 0 ? hourAgoMs : Math.max(sinceMs, hourAgoMs) };
  } catch (error) {
    requireRefusal(error);
    return null;
  }
}

/** Give the failures after a position up to an offset; null: they are too many. */
async function failuresWithin(client, since, before) {
  const params = { topic: "*", type: "agent_error", since, limit: EVENTS_PER_PAGE };
  const events = [];
  for (let page = 0; page < PAGES_PER_WINDOW; page += 1) {
    const { items, next } = await client.call("event.list", params);
    events.push(...items.filter(({ offset }) => offset <= before));
    const isPast = Number(next?.slice(next.lastIndexOf(":") + 1)) >= before;
    if (!next || isPast) return events;
    params.cursor = next;
  }
  return null;
}
