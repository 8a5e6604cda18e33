"""Tests of the compiled update."""
