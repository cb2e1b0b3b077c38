/**
 * The visitor of the page: the user that the address names, and the token from the form.
 *
 * The user stands in the address, so that a reload and a bookmark keep it. The token stays in this
 * tab's storage and never goes into an address.
 */

const TOKEN_KEY = "gateway.token";
const USER_AT_FIRST = "demo";

/** Read the visitor of this tab. */
export function visitor() {
  const address = new URL(location.href);
  const { searchParams: asked } = address;
  let user = asked.has("operator") ? null : (asked.get("user") ?? USER_AT_FIRST);
  let token = stored();

  return {
    /** The user to play; null for an operator. */
    get user() {
      return user;
    },
    /** The token, or "". */
    get token() {
      return token;
    },

    /** Play another user; null for an operator. */
    switchTo(name) {
      user = name;
      asked.delete("operator");
      asked.delete("user");
      if (user === null) asked.set("operator", "");
      else if (user !== USER_AT_FIRST) asked.set("user", user);
      history.replaceState(null, "", address.href.replace("operator=", "operator"));
    },

    /** Take a token from the form. */
    signIn(given) {
      token = given;
      store(given);
    },

    /** Fetch from the gateway with the visitor's token. */
    fetch(path, options = {}) {
      const authorization = token ? { authorization: `Bearer ${token}` } : {};
      const headers = { ...options.headers, ...authorization };
      return fetch(new URL(path, document.baseURI), { ...options, headers });
    },
  };
}

function stored() {
  try {
    return sessionStorage.getItem(TOKEN_KEY) ?? "";
  } catch {
    return ""; // The storage is refused by the browser's settings.
  }
}

function store(token) {
  try {
    sessionStorage.setItem(TOKEN_KEY, token);
  } catch {
    // Then the token lasts until the page is reloaded.
  }
}
