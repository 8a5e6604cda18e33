"""What compiling with JAX needs."""
