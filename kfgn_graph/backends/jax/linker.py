"""A JAX linker that donates updated variables, and XLA's options for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from pytensor.graph.fg import FunctionGraph
from pytensor.link.jax.linker import JAXLinker

from kfgn_graph.linalg.matrices import RefreshedInverse

Options = dict[str, str | bool]


#: XLA's order of computation for little memory; by default its CPU's order is for concurrency.
SPARING: Options = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


#: A GPU takes products from its library alone, since XLA else compiles many of its own for each,
#: to time them; and runs side by side what does not wait for one another, most of it small.
ON_GPU: Options = {
    "xla_gpu_enable_triton_gemm": False,
    "xla_gpu_command_buffer_scheduling_mode": "CONCURRENT",
}


class DonatingJAXLinker(JAXLinker):
    """A JAX linker whose functions reuse the memory of the variables that they update."""

    def jit_compile(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Compile ``fn``, donating each input that an output replaces."""
        import jax

        if self.scalar_shape_inputs:
            return super().jit_compile(fn)
        donated = tuple(self.fgraph.update_mapping.values())
        return jax.jit(fn, donate_argnums=donated, compiler_options=options_of(self.fgraph))


def options_of(fgraph: FunctionGraph) -> Options:
    """Return XLA's options for a graph.

    On a CPU, where inverses are kept from update to update, what an update needs besides is kept
    small. Where all is computed at every update, it has to be there at once anyway, and
    factorisations, which use one processor, are best computed beside something else.
    """
    import jax

    if jax.default_backend() != "cpu":
        return known(ON_GPU)
    keeps = any(isinstance(node.op, RefreshedInverse) for node in fgraph.apply_nodes)
    return known(SPARING) if keeps else {}


def known(options: Options) -> Options:
    """Return options if this XLA, whose options are not part of its interface, has them."""
    return options if has(*options.items()) else {}


@cache
def has(*options: tuple[str, str | bool]) -> bool:
    """Return whether XLA compiles with options."""
    import jax

    try:
        jax.jit(lambda x: x, compiler_options=dict(options)).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
