"""What we say: frames, codes, one connection as a machine, the table of operations. No I/O."""
