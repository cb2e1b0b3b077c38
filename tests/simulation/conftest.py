"""One nats-server for the tests of a module."""

from tests.stores.conftest import server

__all__ = ["server"]
