/**
 * The visitor of the page: the user that the address names, if any, and the token from the form.
 *
 * The user stands in the address, so that a reload and a bookmark keep it. The token stays in this
 * tab's storage and never goes into an address.
 */

const TOKEN_KEY = "gateway.token";

/** Read the visitor of this tab. */
export function visitor() {
  let user = new URL(location.href).searchParams.get("user");
  let token = stored();

  return {
    /** The user whose tasks are shown; null: everybody's, as far as the visitor may see them. */
    get user() {
      return user;
    },
    /** The token, or "". */
    get token() {
      return token;
    },

    /** Show another user's tasks; null: everybody's. */
    switchTo(name) {
      user = name;
      const address = new URL(location.href);
      address.searchParams.delete("user");
      if (user !== null) address.searchParams.set("user", user);
      history.replaceState(null, "", address.href);
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

/** The WebSocket of the gateway that this page comes from, below a path as well. */
export function socketUrl() {
  const url = new URL("ws", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  url.search = "";
  url.hash = "";
  return url;
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
