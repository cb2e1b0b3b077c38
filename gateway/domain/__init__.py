"""What we mean: pure values and functions. ``now`` is an argument; nothing here waits."""
