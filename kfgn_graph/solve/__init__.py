r"""Strategies for the inverse of a layer's damped block, with a common interface.

A refresh computes the *parts* of an inverse from the factors, which is the expensive step. Every
update multiplies a gradient by the inverse that the parts represent.

================  ===============================  ==============================================
strategy          parts                            multiplies V by
================  ===============================  ==============================================
Cholesky          the two inverses                 (Q + pi gamma I)^-1 and (G + gamma / pi I)^-1
NewtonSchulz      the two inverses                 the same
Eigenbasis        eigenvalues and eigenvectors     the same; exact: (Q (x) G + (lambda + eta) I)^-1
================  ===============================  ==============================================
"""

from kfgn_graph.solve.base import BlockDamping, Inverse, KeptBlock, Parts
from kfgn_graph.solve.cholesky import Cholesky
from kfgn_graph.solve.eigenbasis import Eigenbasis
from kfgn_graph.solve.names import STRATEGIES, strategy_of
from kfgn_graph.solve.newton_schulz import NewtonSchulz

__all__ = [
    "STRATEGIES",
    "BlockDamping",
    "Cholesky",
    "Eigenbasis",
    "Inverse",
    "KeptBlock",
    "NewtonSchulz",
    "Parts",
    "strategy_of",
]
