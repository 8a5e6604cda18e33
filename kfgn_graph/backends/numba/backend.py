"""Numba: PyTensor's mode for it, for any number of examples."""

from __future__ import annotations

from pytensor.compile.mode import NUMBA, Mode

from kfgn_graph.backends.base import Backend
from kfgn_graph.backends.numba.linker import ProgramLinker
from kfgn_graph.backends.rewrites.fast_activations import FAST_ELEMENTARY
from kfgn_graph.backends.rewrites.in_place import IN_PLACE, PYTENSORS
from kfgn_graph.backends.rewrites.inverses import FACTORED_SOLVES
from kfgn_graph.backends.rewrites.joined_parts import READ_JOINED
from kfgn_graph.backends.rewrites.leading_rows import FEW_ROWS
from kfgn_graph.backends.rewrites.rematerialise import LESS_KEPT
from kfgn_graph.backends.rewrites.syrk import SYMMETRIC_PRODUCTS


class NumbaBackend(Backend):
    """PyTensor's Numba mode, with symmetric products by SYRK and inverses by POTRI."""

    name = "numba"
    static_batch = False

    def mode(self) -> Mode:
        import kfgn_graph.backends.numba.dispatch  # noqa: F401  registers them
        from kfgn_graph.backends.numba.scalar_dispatch import INLINE_EXPRESSIONS

        mode = Mode(ProgramLinker(), NUMBA._optimizer)
        return mode.excluding(PYTENSORS).including(
            SYMMETRIC_PRODUCTS,
            FACTORED_SOLVES,
            FAST_ELEMENTARY,
            LESS_KEPT,
            IN_PLACE,
            FEW_ROWS,
            READ_JOINED,
            INLINE_EXPRESSIONS,
        )
