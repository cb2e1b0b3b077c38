"""What we keep: implementations of the event log; one contract suite runs over each."""
