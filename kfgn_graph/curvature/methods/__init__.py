"""The curvature methods: where each starts at the output, and what it carries back.

============  =======================  ==========================  =====================
method        starts from              carries back                equations
============  =======================  ==========================  =====================
KFRA          E[H_L]                   its expectation, nested     (26)
KFLR          exact root of H_L        K columns an example        (23)-(25)
KFAC          random root of H_L       one column a sample         (24)-(25), sampled
Block*        H_L of each example      one matrix an example       (7)-(10), (14)-(18), (22)
============  =======================  ==========================  =====================
"""

from kfgn_graph.curvature.methods.base import KroneckerMethod, Method
from kfgn_graph.curvature.methods.exact_blocks import BlockGaussNewton, BlockHessian
from kfgn_graph.curvature.methods.kfac import KFAC
from kfgn_graph.curvature.methods.kflr import KFLR
from kfgn_graph.curvature.methods.kfra import KFRA

__all__ = [
    "KFAC",
    "KFLR",
    "KFRA",
    "BlockGaussNewton",
    "BlockHessian",
    "KroneckerMethod",
    "Method",
]
