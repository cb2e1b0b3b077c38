"""What each operation of the doors does: one handler for each name in the table."""
