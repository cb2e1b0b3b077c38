"""A worker process: it claims tasks from a gateway, runs its agents, and reports."""
