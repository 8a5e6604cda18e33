"""What compiling with Numba needs."""
