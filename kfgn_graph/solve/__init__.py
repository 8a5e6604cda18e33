r"""How the damped block of a layer is inverted: strategies behind one small interface.

A strategy turns factors into *parts* when inverses are refreshed, which is the expensive step, and
multiplies a gradient by the inverse that the parts represent at every update.

================  ===============================  ==============================================
strategy          parts                            multiplies V by
================  ===============================  ==============================================
Cholesky          the two inverses                 (Q + pi gamma I)^-1 and (G + gamma / pi I)^-1
NewtonSchulz      the two inverses                 the same, by products alone
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
