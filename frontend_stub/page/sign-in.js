/** Which user the page is open for: the form for a token, and the field for a user's name. */

import { h, setText, show } from "./dom.js";

const TOKEN_HINT =
  "It is kept in this tab until you close it. An operator makes one with: " +
  "gateway token --user NAME";

/** Draw the form that asks for a token. `signIn(token)` takes it. */
export function signInForm(section, { signIn }) {
  const token = h("input", {
    id: "token",
    type: "password",
    autocomplete: "off",
    required: true,
    spellcheck: "false",
  });
  const why = h("p");
  const submit = (submitted) => {
    submitted.preventDefault();
    signIn(token.value.trim());
    token.value = "";
  };
  section.append(
    h("h2", { id: "sign-in-title" }, "This gateway asks for a token"),
    why,
    h(
      "form",
      { class: "sign-in-form", onsubmit: submit },
      h("div.field", {}, h("label", { for: "token" }, "Token"), token),
      h("button.primary", { type: "submit" }, "Connect"),
    ),
    h("p.quiet", {}, TOKEN_HINT),
  );
  return {
    draw(visible, reason) {
      if (visible && section.hidden) {
        show(section, true);
        token.focus();
      }
      if (!visible) show(section, false);
      setText(why, reason);
      show(why, Boolean(reason));
    },
  };
}

/** Draw the user: a field to play one without a secret, the name that stands in the token else. */
export function identity(place, { switchTo }) {
  const name = h("input", {
    id: "user",
    name: "user",
    autocomplete: "off",
    spellcheck: "false",
    placeholder: "everyone",
    pattern: "[^*]|.{2,}", // whatever a sign-in issues, but not everybody
    maxlength: "256",
    title: "The user's id, at most 256 characters; empty for an operator",
  });
  const submit = (submitted) => {
    submitted.preventDefault();
    switchTo(name.value.trim() || null);
  };
  const form = h(
    "form",
    { class: "identity-form", onsubmit: submit },
    h("label", { for: "user" }, "User"),
    name,
    h("button", { type: "submit" }, "Switch"),
  );
  const role = h("span.role");
  place.append(form, role);
  return {
    draw({ user, session, withToken }) {
      show(form, !withToken);
      if (document.activeElement !== name) name.value = user ?? "";
      const operator = session?.scopes?.includes("admin") ? "operator" : "";
      const named = withToken ? session?.user_id : "";
      setText(role, [named, operator].filter(Boolean).join(" · "));
      show(role, Boolean(role.textContent));
    },
  };
}
