"""The demonstration: agents with a real SDK, a model server that really fails, a page to watch."""
