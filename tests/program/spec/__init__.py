"""Tests of specs: reading, writing, places."""
