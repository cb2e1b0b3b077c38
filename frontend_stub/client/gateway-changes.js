/**
 * What each event changes in a state that is about more than one task: recoveries, breakers,
 * degradations, workers and notices.
 */

import { newWorker } from "./records.js";

/** The other modes of a degradation (`fallback`, …) are of one agent or upstream. */
const GATEWAY_MODES = new Set(["degraded", "read_only", "draining"]);

const REFUSAL_OF = ["type", "user_id", "agent_name", "reason"];

/** Event type → function(draft, event). */
export const GATEWAY_CHANGES = {
  system_recovered(draft, event) {
    if (event.error_id) draft.remove("failures", event.error_id);
    const report = draft.state.reports.get(event.error_id);
    if (report) draft.put("reports", event.error_id, { ...report, recovered: event });
    if (event.task_id) {
      draft.task(event, {
        recovered: { time: event.recovery_time ?? null, attempts: event.attempts_made ?? null },
      });
    }
    if (event.degradation_id) {
      if (draft.state.degradations.has(event.degradation_id)) addNotice(draft, event);
      draft.remove("degradations", event.degradation_id);
      const left = [...draft.state.degradations.values()].map(({ mode }) => mode);
      draft.state.mode = left.findLast((mode) => GATEWAY_MODES.has(mode)) ?? "normal";
    }
    if (event.scope === "breaker" || event.scope === "domain") {
      for (const breaker of [...draft.state.breakers.values()]) {
        if (!isMeant(event, breaker)) continue;
        const closed = { ...breaker, state: "closed", probe_at: null, error_id: null };
        draft.put("breakers", breakerKey(breaker), closed);
      }
    }
  },

  circuit_breaker_triggered(draft, event) {
    const name = event.breaker ?? event.agent_name;
    if (!name) return;
    draft.put("breakers", breakerKey({ name, scope: event.scope }), {
      name,
      scope: event.scope,
      state: "open",
      opened_at: event.timestamp,
      probe_at: event.probe_at ?? null,
      version: event.breaker_version ?? null,
      cooldown: event.cooldown_period ?? null,
      fallback_active: event.fallback_active ?? false,
      failures: event.failure_threshold_reached ?? null,
      user_message: event.user_message ?? null,
      error_id: event.error_id ?? null,
    });
  },

  circuit_breaker_test_request(draft, event) {
    const name = event.breaker ?? event.agent_name;
    if (!name) return;
    // A probe of a failure domain names it as its own domain, too.
    const scope = event.domain === name ? "domain" : null;
    const key = breakerKey({ name, scope });
    const known = draft.state.breakers.get(key) ?? { name, scope, error_id: event.error_id };
    draft.put("breakers", key, { ...known, state: "half_open", probe_at: null });
  },

  graceful_degradation(draft, event) {
    if (event.degradation_id) draft.put("degradations", event.degradation_id, event);
    if (GATEWAY_MODES.has(event.mode)) draft.state.mode = event.mode;
  },

  mode_changed(draft, event) {
    draft.state.mode = event.mode;
  },

  agent_registered(draft, event) {
    const { agent_id: agentId } = event;
    if (!agentId) return;
    const known = draft.state.agents.get(agentId) ?? newWorker(agentId);
    draft.put("agents", agentId, {
      ...known,
      handle: event.handle ?? known.handle,
      agents: event.agents ?? known.agents,
      domain: event.domain ?? null,
      last_heartbeat: event.timestamp ?? known.last_heartbeat,
    });
  },

  agent_status_changed(draft, event) {
    const { agent_id: agentId } = event;
    if (!agentId) return;
    const agents = [event.agent_name].filter(Boolean);
    const known = draft.state.agents.get(agentId) ?? { ...newWorker(agentId), agents };
    draft.put("agents", agentId, {
      ...known,
      status: event.status,
      reason: event.reason ?? null,
      health_score: event.health_score ?? known.health_score,
      since: event.timestamp,
    });
  },

  request_rejected: addRefusal,

  notification: addNotice,
};

/** Under which key a breaker is kept: a failure domain may have the name of an agent's breaker. */
export function breakerKey({ name, scope }) {
  return scope === "domain" ? `domain/${name}` : name;
}

/** Tell whether a recovery is of this breaker. It names the breaker, its failure or its agent. */
function isMeant(event, breaker) {
  if (event.breaker) return breaker.name === event.breaker;
  if (event.error_id) return breaker.error_id === event.error_id;
  return breaker.name === event.agent_name;
}

/** Refusals of one user by one agent for one reason are one notice: its newest, and their sum. */
function addRefusal(draft, event) {
  const isSame = (other) => REFUSAL_OF.every((field) => other[field] === event[field]);
  const before = draft.state.notices.find(isSame);
  const many = (before?.count ?? 0) + (event.count ?? 1);
  draft.own("notices", (notices) => notices.filter((other) => other !== before));
  addNotice(draft, { ...event, count: many });
}

function addNotice(draft, event) {
  draft.own("notices", (notices) => draft.bounded("notices", [...notices, event]));
}
