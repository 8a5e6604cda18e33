"""Tests of the Numba backend."""
