"""The curvature methods: the quantity at the output, and the quantity that is propagated back.

============  =======================  ==========================  =====================
method        starts from              propagates                  equations
============  =======================  ==========================  =====================
KFRA          E[H_L]                   the nested expectation      (26)
KFLR          exact root of H_L        K columns per example       (23)-(25)
KFAC          random root of H_L       one column per sample       (24)-(25), sampled
Block*        H_L of each example      one matrix per example      (7)-(10), (14)-(18), (22)
============  =======================  ==========================  =====================
"""

from kfgn_graph.curvature.methods.auto import Auto
from kfgn_graph.curvature.methods.base import KroneckerMethod, Method
from kfgn_graph.curvature.methods.exact_blocks import BlockGaussNewton, BlockHessian
from kfgn_graph.curvature.methods.kfac import KFAC
from kfgn_graph.curvature.methods.kflr import KFLR
from kfgn_graph.curvature.methods.kfra import KFRA

__all__ = [
    "KFAC",
    "KFLR",
    "KFRA",
    "Auto",
    "BlockGaussNewton",
    "BlockHessian",
    "KroneckerMethod",
    "Method",
]
