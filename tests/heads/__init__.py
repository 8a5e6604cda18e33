"""Tests of the loss heads against brute-force derivatives."""
