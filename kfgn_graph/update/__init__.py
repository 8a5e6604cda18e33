"""The compiled update: batches in, statistics out, and what persists between calls."""
