"""What we run: the write path, the folds, attempts, breakers and timers."""
