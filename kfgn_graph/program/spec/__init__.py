"""Declaring a network and a run in a file: :class:`GraphSpec`."""

from kfgn_graph.program.spec.models import GraphSpec

__all__ = ["GraphSpec"]
