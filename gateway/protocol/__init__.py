"""What we say: frames, codes, the session as a machine, the table of operations. No I/O."""
