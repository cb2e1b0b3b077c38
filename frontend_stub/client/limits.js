/** How much of each thing a state keeps, and which tasks have come to their end. */

/** At each bound the oldest entry goes; of tasks the oldest that has ended, if there is one. */
export const LIMITS = Object.freeze({
  tasks: 500,
  events: 1000,
  text: 262_144, // characters of streamed text per task; the beginning goes
  attempts: 50, // per task
  steps: 100, // per task
  failures: 500,
  reports: 100, // failures without a task
  degradations: 100,
  breakers: 200,
  agents: 500,
  notices: 50, // rejections, ends of degradations, notifications
});

/** The statuses of a task that has come to its end. */
export const ENDED = new Set(["succeeded", "failed", "cancelled", "dead_lettered", "lost"]);
