"""Tests of the recognition of layers."""
