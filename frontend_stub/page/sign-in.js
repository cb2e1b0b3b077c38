/** The form for a token. */

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
