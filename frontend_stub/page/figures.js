/**
 * The gateway's counts of everything, for those who may see everything: they name users that have
 * no task on the page, and failure domains, of which no event tells how many workers they have.
 */

/** `fetch(path)` asks with the visitor's rights; `changed()`: there are other counts. */
export function figures({ fetch, changed }) {
  let counts = {};

  return {
    /** Users with a task that is known. */
    get users() {
      return Object.keys(counts.by_user ?? {});
    },

    /** Agents with a task that is known. */
    get agents() {
      return Object.keys(counts.tasks?.by_agent ?? {});
    },

    /** Failure domain → {agents, open, finished, failed}. */
    get domains() {
      return counts.by_domain ?? {};
    },

    /** Upstream → {running, limit}; none unless the gateway limits calls by itself. */
    get upstreams() {
      return counts.upstreams ?? {};
    },

    /** All of them, as `stats.get` has them; {} until they are known. */
    get all() {
      return counts;
    },

    /** Ask for the counts. */
    async look() {
      try {
        const answer = await fetch("api/stats");
        if (!answer.ok) return;
        counts = await answer.json();
        changed();
      } catch {
        // The gateway is away: the connection tells that.
      }
    },

    /** Know nothing, as another visitor. */
    forget() {
      counts = {};
    },
  };
}
