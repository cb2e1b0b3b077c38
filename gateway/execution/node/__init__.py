"""This process among other gateways on the same log."""
