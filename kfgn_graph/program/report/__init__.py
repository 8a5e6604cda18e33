"""The report of runs: one HTML page that needs nothing else."""

from kfgn_graph.program.report.page import render

__all__ = ["render"]
