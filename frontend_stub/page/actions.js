/**
 * What a user does with tasks. Each action is one call to the gateway; what follows from it comes
 * back as an event, here and in every other window.
 */

import { NoAnswer } from "../client/gateway-client.js";
import { liveAgain } from "./history.js";

const ASK_TRIES = 3;

/**
 * @param {object} page client(): the client in use; asked(taskId): the page knows the question of
 *   this task from now on; isForAll(): tasks of all users are shown
 */
export function taskActions({ client, asked, isForAll }) {
  // task_id → what was asked in this window; the gateway does not tell it again
  const questions = new Map();

  /** Start a task. Repeated over a cut under the same key, so that it is started once. */
  async function ask(agent, question) {
    const key = crypto.randomUUID?.() ?? `page-${Date.now()}-${Math.random()}`;
    const params = { agent, input: { question }, idempotency_key: key };
    for (let tries = 1; ; tries += 1) {
      try {
        const made = await client().call("task.create", params);
        questions.set(made.task_id, question);
        asked(made.task_id);
        return made;
      } catch (error) {
        const isLast = !(error instanceof NoAnswer) || tries >= ASK_TRIES;
        if (isLast || !(await liveAgain(client()))) throw error;
      }
    }
  }

  /** Ask again. A task whose log is gone is asked anew, since the gateway does not know it. */
  async function retry(task) {
    const question = questionOf(task);
    if (task.status === "lost") {
      await ask(task.agent_name, question);
      return;
    }
    const made = await client().call("task.retry", { task_id: task.task_id });
    if (question && made?.task_id && made.task_id !== task.task_id) {
      questions.set(made.task_id, question);
    }
  }

  async function cancel(task) {
    await client().call("task.cancel", { task_id: task.task_id });
  }

  /** The whole of what is preserved of a task. */
  function partial(task) {
    return client().call("task.partial", { task_id: task.task_id });
  }

  /** What was asked, where it was asked in this window; else "". */
  function questionOf(task) {
    return questions.get(task.task_id) ?? questions.get(task.retry_of) ?? "";
  }

  /** Whose task or report it is, where those of several users are shown; else "". */
  function ownerOf(task) {
    return isForAll() ? (task.user_id ?? "") : "";
  }

  return { ask, retry, cancel, partial, questionOf, ownerOf };
}
