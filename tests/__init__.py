"""Tests of kfgn_graph: they mirror the package, and share the table of :mod:`tests.cases`."""
