"""The operations of the doors: one handler for each name in the table."""
