/** The bounds at their old address. New code imports `client/gateway-client.js`. */

export { ENDED, LIMITS } from "./client/gateway-client.js";
