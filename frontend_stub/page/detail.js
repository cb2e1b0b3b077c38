/** What operators alone see of a failure: the exception, its causes, the stack, the upstream. */

import { h } from "./dom.js";
import { dataWords } from "./words.js";

/** Make the part of a failure's `detail`, folded; null: there is none, or it is not for one. */
export function detailPart(detail) {
  if (detail === null || typeof detail !== "object") return null;
  const body = h("div.detail-body", {}, detailRows(detail));
  return h("details.detail", {}, h("summary", {}, summaryWords(detail)), body);
}

function summaryWords({ exception, text }) {
  const said = [shortName(exception), text].filter((part) => typeof part === "string" && part);
  return said.length > 0 ? `For operators: ${said.join(": ")}` : "For operators";
}

/** `openai.RateLimitError` → `RateLimitError`; the whole name stands below. */
function shortName(exception) {
  return typeof exception === "string" ? exception.split(".").at(-1) : null;
}

function detailRows({ exception, text, chain, stack, ...rest }) {
  const rows = [];
  if (exception || text) rows.push(part("Exception", joined(exception, text)));
  for (const cause of listed(chain)) {
    const at = cause.at ? `\nat ${cause.at}` : "";
    rows.push(part("Caused by", joined(cause.exception, cause.text) + at));
  }
  if (listed(stack).length > 0) rows.push(part("Stack, innermost last", stack.join("\n")));
  for (const [name, value] of Object.entries(rest)) {
    rows.push(part(name.replaceAll("_", " "), dataWords(value)));
  }
  return rows.flat();
}

function part(name, text) {
  return [h("p.detail-name", {}, name), h("pre", { tabindex: "0" }, text)];
}

function listed(value) {
  return Array.isArray(value) ? value : [];
}

function joined(...parts) {
  return parts.filter(Boolean).join(": ");
}
