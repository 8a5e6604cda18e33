"""Tests of the experiments: data, networks, counts, and the demo end to end in small."""
