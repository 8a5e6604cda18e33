"""JAX: static shapes, and buffers of updated variables donated to the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pytensor.compile.mode import JAX, Mode
from pytensor.link.jax.linker import JAXLinker

from kfgn_graph.backends.base import Backend


class DonatingJAXLinker(JAXLinker):
    """A JAX linker whose functions reuse the memory of the variables that they update."""

    def jit_compile(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Compile ``fn``, donating each input that an output replaces."""
        import jax

        if self.scalar_shape_inputs:
            return super().jit_compile(fn)
        return jax.jit(fn, donate_argnums=tuple(self.fgraph.update_mapping.values()))


class JAXBackend(Backend):
    """PyTensor's JAX mode with donation."""

    name = "jax"
    static_batch = True

    def mode(self) -> Mode:
        return Mode(linker=DonatingJAXLinker(), optimizer=JAX._optimizer)
