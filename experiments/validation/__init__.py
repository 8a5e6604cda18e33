"""Comparisons of kfgn_graph's numbers with other systems'."""
