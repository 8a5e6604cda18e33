"""Tests of what explains an update and the machine."""
