/**
 * The few lines between the views and the document: make elements, change only what differs, keep
 * lists by key. Text from a server enters the page through `textContent` alone, never as markup.
 */

const GONE = new Set([false, null, undefined]);
/** Streamed text is appended to or cut at its beginning, so comparing its end is enough. */
const COMPARED = 32;

const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element: `h("button.primary", {type: "button", onclick: f}, "Retry")`. A property that
 * is false or null is not set, and a child that is null is left out.
 */
export function h(tag, props = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length > 0) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(props)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (!GONE.has(value)) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null));
  return element;
}

/** Write text only when it differs, so that selections and screen readers are left in peace. */
export function setText(element, text) {
  const value = text ?? "";
  if (element.textContent !== value) element.textContent = value;
}

/** Set an attribute only when it differs; false and null remove it. */
export function setAttribute(element, name, value) {
  if (GONE.has(value)) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Show or hide an element. */
export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** Of less than this no text fills the room that it has before it scrolls, on a phone either. */
const LONG_CHARS = 250;
const LONG_LINES = 8;

/** Let a text scroll if it is long, so that the keyboard has to stop at long ones only. */
export function scrollIfLong(element, text) {
  const isLong = text.length > LONG_CHARS || text.split("\n").length > LONG_LINES;
  element.classList.toggle("long", isLong);
  setAttribute(element, "tabindex", isLong ? "0" : null);
}

/** Append a text's new end without touching what is there; replace a text that is another one. */
export function growText(element, text) {
  const node = element.firstChild ?? element.appendChild(document.createTextNode(""));
  const known = node.data.length;
  const end = text.slice(Math.max(0, known - COMPARED), known);
  if (text.length >= known && end === node.data.slice(-COMPARED)) {
    if (text.length > known) node.appendData(text.slice(known));
  } else {
    node.data = text;
  }
}

/**
 * Make `parent` hold one child per item, in order. Children are kept by key, moved only when they
 * must be, and updated only when their item is another one than at the last call.
 *
 * `make(item)` returns {element, update(item)}; `update` is called right after making, too.
 */
export function keyed(parent, items, keyOf, make) {
  const known = (parent.keyed ??= new Map());
  const wanted = new Set();
  let at = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    wanted.add(key);
    let child = known.get(key);
    if (!child) {
      child = make(item);
      known.set(key, child);
    }
    if (child.item !== item) {
      child.item = item;
      child.update?.(item);
    }
    if (child.element === at) at = at.nextSibling;
    else parent.insertBefore(child.element, at);
  }
  if (known.size > wanted.size) {
    for (const [key, child] of known) {
      if (wanted.has(key)) continue;
      child.element.remove();
      known.delete(key);
    }
  }
}

const PATHS = {
  clock: ["M12 7v5l3 2", "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18"],
  check: ["M5 12.5 10 17.5 19.5 7"],
  cross: ["M6.5 6.5 17.5 17.5", "M17.5 6.5 6.5 17.5"],
  dot: ["M12 8.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7"],
  spinner: ["M12 3.5a8.5 8.5 0 1 1-8.5 8.5"],
  retry: ["M4.5 12a7.5 7.5 0 1 1 2.3 5.4", "M4.5 18v-5h5"],
  warning: ["M12 4 21 19.5H3Z", "M12 10v4", "M12 16.6v.2"],
  stop: ["M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17", "M6.2 6.2 17.8 17.8"],
  archive: ["M4 5h16v4H4Z", "M5.5 9v10h13V9", "M10 13h4"],
  question: ["M9 9.2a3 3 0 1 1 4.3 2.7c-.9.4-1.3 1-1.3 2", "M12 17v.2"],
  shield: ["M12 3.5 19.5 6v6c0 4.5-3.2 7.3-7.5 8.5C7.7 19.3 4.5 16.5 4.5 12V6Z"],
  info: ["M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17", "M12 11v5", "M12 8v.2"],
  link: ["M3 12h4l2.5-6 5 12L17 12h4"],
  saved: ["M6 4h9l3.5 3.5V20H6Z", "M9 4v5h5V4", "M9 20v-6h6v6"],
};

/** A decorative icon; the words beside it say the same. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.dataset.icon = name;
  for (const d of PATHS[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}

/** Put an icon into its slot, unless it is there. */
export function setIcon(slot, name) {
  if (slot.firstChild?.dataset.icon !== name) slot.replaceChildren(icon(name));
}
