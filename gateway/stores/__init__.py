"""What we keep: implementations of the event log, each held to one contract suite."""
