"""A JAX linker that donates the buffers of updated variables, and compiler options for XLA."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from pytensor.graph.fg import FunctionGraph
from pytensor.link.jax.linker import JAXLinker

from kfgn_graph.backends.rewrites.like_shapes import RefreshedInverses
from kfgn_graph.linalg.matrices import RefreshedInverse
from kfgn_graph.shared_values import cell_of

Options = dict[str, str | bool]


#: On a CPU: schedule operations for a low peak of memory, not for concurrency.
LOW_MEMORY: Options = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}


#: On a GPU: use the vendor's GEMM library, since XLA would otherwise compile and time many kernels
#: of its own for each product; and run independent kernels concurrently.
ON_GPU: Options = {
    "xla_gpu_enable_triton_gemm": False,
    "xla_gpu_command_buffer_scheduling_mode": "CONCURRENT",
}


class DonatingJAXLinker(JAXLinker):
    """A JAX linker whose functions reuse the buffers of the variables that they update."""

    def create_thunk_inputs(self, storage_map: Any) -> list[list[Any]]:
        """Return the cells that the function reads: where a value lies, not where users read."""
        return super().create_thunk_inputs(
            {v: cell_of(storage_map[v]) for v in self.fgraph.inputs}
        )

    def jit_compile(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Compile ``fn``; each input that an output replaces is donated."""
        import jax

        if self.scalar_shape_inputs:
            return super().jit_compile(fn)
        donated = tuple(self.fgraph.update_mapping.values())
        return jax.jit(fn, donate_argnums=donated, compiler_options=options_of(self.fgraph))


def options_of(fgraph: FunctionGraph) -> Options:
    """Return XLA's options for a graph.

    On a CPU, the low-memory schedule is used if inverses are stored between calls. If everything
    is computed in every call, the default schedule runs factorisations, which use one core, beside
    other operations.
    """
    import jax

    if jax.default_backend() != "cpu":
        return known(ON_GPU)
    keeps = any(
        isinstance(node.op, RefreshedInverse | RefreshedInverses) for node in fgraph.apply_nodes
    )
    return known(LOW_MEMORY) if keeps else {}


def known(options: Options) -> Options:
    """Return the options if this version of XLA has them, otherwise none."""
    return options if has(*options.items()) else {}


@cache
def has(*options: tuple[str, str | bool]) -> bool:
    """Return whether XLA accepts the options."""
    import jax

    try:
        jax.jit(lambda x: x, compiler_options=dict(options)).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
