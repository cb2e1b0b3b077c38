"""The one write path, and what is so: drafts go in, the state is folded from what the log took."""
