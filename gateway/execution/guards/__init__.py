"""Which calls are let through, and which are refused with a reason."""
