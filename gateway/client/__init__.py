"""How a gateway is called from elsewhere: by the command line, by workers and by tests."""
