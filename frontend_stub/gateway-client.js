/**
 * The client at its old address and under its old names, for frontends that import them.
 * New code imports `client/gateway-client.js`.
 */

import { GatewayClient as Client } from "./client/gateway-client.js";

export {
  CallError,
  DEFAULTS,
  NoAnswer,
  SUBPROTOCOL,
  backoff,
  topicsOf as topics_of,
} from "./client/gateway-client.js";

/** The client with the two methods that have been renamed since. */
export class GatewayClient extends Client {
  /** The old name of `reconnectNow`. */
  reconnect_now() {
    this.reconnectNow();
  }

  /** The old name of `serverNow`. */
  server_now() {
    return this.serverNow();
  }
}
