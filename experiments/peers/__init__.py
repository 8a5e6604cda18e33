"""Other libraries, each run in an environment of its own, as rows of the same tables."""
