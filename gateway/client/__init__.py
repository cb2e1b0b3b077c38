"""How others call us: a connection with resume, used by the command line and by tests."""
