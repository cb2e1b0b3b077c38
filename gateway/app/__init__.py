"""How it is put together: settings, clock, build, command line, demo."""
