"""How the gateway is put together: settings, clock, command line, demonstration."""
