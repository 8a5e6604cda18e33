"""JAX: static shapes, and buffers of updated variables donated to the call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pytensor.compile.mode import JAX, Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.link.jax.linker import JAXLinker

from kfgn_graph.backends.base import Backend
from kfgn_graph.errors import BackendError, BatchError


class DonatingJAXLinker(JAXLinker):
    """A JAX linker whose functions reuse the memory of the variables that they update."""

    def jit_compile(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Compile ``fn``, donating each input that an output replaces."""
        import jax

        if self.scalar_shape_inputs:
            return super().jit_compile(fn)
        return jax.jit(fn, donate_argnums=tuple(self.fgraph.update_mapping.values()))


class JAXBackend(Backend):
    """PyTensor's JAX mode with donation, on one device or several.

    Parameters
    ----------
    devices : int, optional
        Over how many devices each batch is divided; parameters and state are copied to each,
        and XLA adds the sums over devices that the factors and gradients need.

    Raises
    ------
    BackendError
        If there are fewer devices.
    """

    name = "jax"
    static_batch = True

    def __init__(self, devices: int | None = None) -> None:
        import jax

        self._devices = devices
        if devices is None:
            return
        if not 1 <= devices <= len(jax.devices()):
            raise BackendError(f"devices={devices}, but JAX sees {len(jax.devices())} here.")
        sharding: Any = jax.sharding
        mesh = sharding.Mesh(jax.devices()[:devices], ("batch",))
        self._sharded = sharding.NamedSharding(mesh, sharding.PartitionSpec("batch"))
        self._replicated = sharding.NamedSharding(mesh, sharding.PartitionSpec())

    def mode(self) -> Mode:
        return Mode(linker=DonatingJAXLinker(), optimizer=JAX._optimizer)

    def place(self, batch: list[Any]) -> list[Any]:
        if self._devices is None:
            return batch
        import jax

        sizes = {a.shape[0] for a in batch if a.ndim}
        if any(n % self._devices for n in sizes):
            raise BatchError(
                f"a batch of {max(sizes)} examples cannot be divided evenly over {self._devices} "
                "devices: pass a multiple of their number."
            )
        return [jax.device_put(a, self._sharded if a.ndim else self._replicated) for a in batch]

    def place_state(self, variables: Iterable[SharedVariable]) -> None:
        if self._devices is None:
            return
        import jax

        for v in variables:
            value = v.get_value(borrow=True, return_internal_type=True)
            v.container.storage[0] = jax.device_put(value, self._replicated)
