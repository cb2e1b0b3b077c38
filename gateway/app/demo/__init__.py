"""The demonstration: agents with a real SDK, an upstream that really fails, a page to watch."""
