"""Who is let through, and who is refused with a reason."""
