"""Benchmarks of kfgn_graph."""
