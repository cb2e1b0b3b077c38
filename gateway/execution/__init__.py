"""What is decided: drafts, folds, guards, holders, and the handlers of the doors."""
