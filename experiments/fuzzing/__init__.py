"""Fuzzers: files with random damage, and random networks."""
