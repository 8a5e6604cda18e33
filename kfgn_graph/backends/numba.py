"""Numba: PyTensor's own mode, for any number of examples."""

from __future__ import annotations

from pytensor.compile.mode import Mode, get_mode

from kfgn_graph.backends.base import Backend
from kfgn_graph.backends.elementary import FAST_ELEMENTARY
from kfgn_graph.backends.symmetric import SYMMETRIC_PRODUCTS


class NumbaBackend(Backend):
    """PyTensor's Numba mode, with symmetric products by SYRK."""

    name = "numba"
    static_batch = False

    def mode(self) -> Mode:
        import kfgn_graph.backends.syrk_numba  # noqa: F401  registers the rule

        return get_mode("NUMBA").including(SYMMETRIC_PRODUCTS, FAST_ELEMENTARY)
