"""How an agent's code is run: one attempt at a time, the same in the gateway and in a worker."""
