"""Tests of the JAX backend."""
