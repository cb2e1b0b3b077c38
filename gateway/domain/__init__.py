"""What we mean: pure values and functions. ``now`` is an argument, and nothing here waits."""
