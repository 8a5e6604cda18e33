"""The Numba backend."""

from __future__ import annotations

from pytensor.compile.mode import NUMBA, Mode

from kfgn_graph.backends.host import HostBackend
from kfgn_graph.backends.inverses import FACTORED_SOLVES
from kfgn_graph.backends.numba.linker import KernelLinker
from kfgn_graph.backends.rewrites.fast_activations import FAST_ACTIVATIONS
from kfgn_graph.backends.rewrites.in_place import IN_PLACE, PYTENSOR_IN_PLACE
from kfgn_graph.backends.rewrites.joined_parts import VIEW_JOINED
from kfgn_graph.backends.rewrites.leading_rows import COPY_FEW_ROWS
from kfgn_graph.backends.rewrites.rematerialise import REMATERIALISE
from kfgn_graph.backends.rewrites.syrk import SYRK


class NumbaBackend(HostBackend):
    """PyTensor's Numba mode, compiled kernel by kernel, for any batch size."""

    name = "numba"
    static_batch = False

    def mode(self) -> Mode:
        import kfgn_graph.backends.numba.dispatch  # noqa: F401  for its registration
        from kfgn_graph.backends.numba.scalar_dispatch import INLINE_EXPRESSIONS

        mode = Mode(KernelLinker(), NUMBA._optimizer)
        return mode.excluding(PYTENSOR_IN_PLACE).including(
            SYRK,
            FACTORED_SOLVES,
            FAST_ACTIVATIONS,
            REMATERIALISE,
            IN_PLACE,
            COPY_FEW_ROWS,
            VIEW_JOINED,
            INLINE_EXPRESSIONS,
        )
