"""What compiling with C needs."""
