"""Numba: PyTensor's own mode, for any number of examples."""

from __future__ import annotations

from pytensor.compile.mode import Mode, get_mode

from kfgn_graph.backends.base import Backend


class NumbaBackend(Backend):
    """PyTensor's Numba mode."""

    name = "numba"
    static_batch = False

    def mode(self) -> Mode:
        return get_mode("NUMBA")
