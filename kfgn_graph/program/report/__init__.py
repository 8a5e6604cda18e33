"""The report of runs as one self-contained HTML page."""

from kfgn_graph.program.report.page import PAGE, render

__all__ = ["PAGE", "render"]
