/** Whose tasks the page shows: everybody's, or those of a user who is picked from a list. */

import { h, setText, show } from "./dom.js";

/** The choices beside the users; no user can have such a name. */
const EVERYBODY = "\u0000everybody";
const OTHER = "\u0000other";
const LISTED_MAX = 200;

/** Draw the list of users; where a token is for one user, its name. `switchTo(name | null)` */
export function people(place, { switchTo }) {
  const picked = h("select", { id: "user", name: "user" });
  const named = h("input", {
    id: "user-id",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "a user's id",
    "aria-label": "The user's id",
    pattern: "[^*]|.{2,}", // whatever a sign-in issues, but not everybody
    maxlength: "256",
    required: true,
    title: "At most 256 characters",
  });
  const submit = (submitted) => {
    submitted.preventDefault();
    if (picked.value === OTHER && named.value.trim()) switchTo(named.value.trim());
  };
  const go = h("button", { type: "submit" }, "Show");
  const other = h("span.identity-other", { hidden: true }, named, go);
  const label = h("label", { for: "user" }, "User");
  const form = h("form.identity-form", { onsubmit: submit }, label, picked, other);
  const role = h("span.role");
  place.append(form, role);
  const users = new Set();
  let current = null;
  let listed = null;

  picked.addEventListener("change", () => {
    const isOther = picked.value === OTHER;
    show(other, isOther);
    if (isOther) named.focus();
    else switchTo(picked.value === EVERYBODY ? null : picked.value);
  });

  function list() {
    const names = [...users].sort((one, two) => one.localeCompare(two));
    const key = [...names, current].join("\n");
    if (key === listed || document.activeElement === named) return;
    listed = key;
    const option = (name) => h("option", { value: name }, name);
    picked.replaceChildren(
      h("option", { value: EVERYBODY }, "Everybody"),
      ...names.map(option),
      h("option", { value: OTHER }, "Another…"),
    );
    picked.value = current ?? EVERYBODY;
    show(other, false);
  }

  return {
    /** `mayPick`: the visitor sees everybody's tasks, and so anybody's. */
    draw({ user, session, mayPick }) {
      current = user;
      show(form, mayPick);
      setText(role, mayPick ? "" : session?.user_id);
      show(role, Boolean(role.textContent));
      named.value = "";
      this.offer(user === null ? [] : [user]);
    },

    /** Offer these users, too; those that were offered stay. */
    offer(more) {
      for (const name of more) if (name && name !== "*" && users.size < LISTED_MAX) users.add(name);
      list();
    },
  };
}
