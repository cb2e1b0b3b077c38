"""A task from its order to its one end."""
