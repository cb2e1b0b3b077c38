"""Which process holds which task, and until when."""
