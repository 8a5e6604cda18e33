"""Fuzzers: random damage to files, which has to end in a clear error or in no harm."""
