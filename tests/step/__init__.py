"""Tests of training steps: damping, step rules, failures."""
