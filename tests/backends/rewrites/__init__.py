"""Tests of the graph rewrites."""
