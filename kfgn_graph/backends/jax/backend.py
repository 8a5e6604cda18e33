"""The JAX backend: static shapes, donated buffers, one or several devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import unwrap
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from pytensor.compile.executor import Function
from pytensor.compile.mode import JAX, Mode
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.backends.base import Backend
from kfgn_graph.backends.jax.linker import DonatingJAXLinker, options_of
from kfgn_graph.backends.rewrites.accumulation import MARKED, OWN_DTYPE
from kfgn_graph.backends.rewrites.leading_rows import COPY_SHARED_ROWS
from kfgn_graph.backends.rewrites.like_shapes import GROUP_LIKE_SHAPES
from kfgn_graph.backends.rewrites.rematerialise import REMATERIALISE
from kfgn_graph.backends.rewrites.strided_diagonal import STRIDED_DIAGONALS
from kfgn_graph.backends.transactions import Storage, attempt
from kfgn_graph.errors import BackendError, BatchError
from kfgn_graph.shared_values import cell_of

#: JAX does not copy NumPy's arrays that are aligned to this number of bytes.
SHARED_ALIGNMENT = 64


class JAXBackend(Backend):
    """PyTensor's JAX mode with donation, on one device or several.

    Parameters
    ----------
    devices : int, optional
        The number of devices over which each batch is divided. Parameters and state are
        replicated, and XLA inserts the reductions over devices.

    Raises
    ------
    BackendError
        If there are fewer devices.
    """

    name = "jax"
    static_batch = True
    stores_on_device = True

    def __init__(self, devices: int | None = None) -> None:
        import jax

        import kfgn_graph.backends.jax.groups  # noqa: F401  for its registration

        self._devices = devices
        #: The loop of each function, by its graph. It ends with the function.
        self._loops: WeakKeyDictionary[FunctionGraph, Callable[..., Any]] = WeakKeyDictionary()
        if devices is None:
            return
        if not isinstance(devices, int) or not 1 <= devices <= len(jax.devices()):
            raise BackendError(f"devices={devices}, but JAX sees {len(jax.devices())} here.")
        sharding: Any = jax.sharding
        mesh = sharding.Mesh(jax.devices()[:devices], ("batch",))
        self._sharded = sharding.NamedSharding(mesh, sharding.PartitionSpec("batch"))
        self._replicated = sharding.NamedSharding(mesh, sharding.PartitionSpec())

    def mode(self) -> Mode:
        import jax

        mode = Mode(DonatingJAXLinker(), JAX._optimizer)
        mode = mode.excluding(MARKED).including(OWN_DTYPE, REMATERIALISE, COPY_SHARED_ROWS)
        mode = mode.including(GROUP_LIKE_SHAPES)
        # on a CPU, whole updates take 6 % longer with strided diagonals
        return mode if jax.default_backend() == "cpu" else mode.including(STRIDED_DIAGONALS)

    def array(self, value: Any) -> Any:
        """Return an array of NumPy, or the given array if it is one of JAX, on its device."""
        import jax

        if not isinstance(value, jax.Array):
            return super().array(value)
        if isinstance(value, jax.core.Tracer):
            raise TypeError("it is traced: an update cannot be called inside a function of JAX")
        if value.is_deleted():
            raise ValueError("it was deleted, or donated to an earlier update")
        return value

    def place(self, batch: list[Any], by_row: Sequence[bool]) -> list[Any]:
        batch = [np.array(a) if is_shared(a) else a for a in batch]
        if self._devices is None:
            return batch
        import jax

        sizes = {a.shape[0] for a, rows in zip(batch, by_row, strict=True) if rows}
        if any(n % self._devices for n in sizes):
            raise BatchError(
                f"a batch of {max(sizes)} examples cannot be divided evenly over {self._devices} "
                "devices: pass a multiple of their number."
            )
        pairs = zip(batch, by_row, strict=True)
        return [jax.device_put(a, self._sharded if r else self._replicated) for a, r in pairs]

    def place_state(self, variables: Iterable[SharedVariable]) -> None:
        if self._devices is None:
            return
        import jax

        for v in variables:
            cell = cell_of(v.container.storage)
            cell[0] = jax.device_put(cell[0], self._replicated)

    def generators(
        self, values: Sequence[TensorVariable], updates: Mapping[SharedVariable, Variable]
    ) -> tuple[list[TensorVariable], Mapping[SharedVariable, Variable]]:
        from kfgn_graph.backends.jax.random_keys import over_keys

        return over_keys(values, updates)

    def is_remote(self, array: Any) -> bool:
        import jax

        return isinstance(array, jax.Array) and any(d.platform != "cpu" for d in array.devices())

    def call(
        self, function: Function, batch: Sequence[Any], new: bool, fallible: bool
    ) -> list[Any]:
        return self._attempt(lambda: function(*batch), shared(function, len(batch)), fallible)

    def many(
        self,
        function: Function,
        data: Sequence[Any],
        batches: Any,
        new: bool,
        fallible: bool,
        by_row: Sequence[bool],
    ) -> list[Any]:
        if self._devices is not None:
            return super().many(function, data, batches, new, fallible, by_row)
        graph = function.maker.fgraph
        if graph not in self._loops:
            self._loops[graph] = compiled_loop(function, by_row)
        loop, storages = self._loops[graph], shared(function, len(data))

        def run() -> list[Any]:
            state, outputs = loop(data, batches, [s[0] for s in storages])
            for storage, value in zip(storages, state, strict=True):
                storage[0] = value
            return list(outputs)

        outputs = self._attempt(run, storages, fallible)
        if any(map(is_shared, data)):
            outputs[0].block_until_ready()
        return outputs

    def _attempt(
        self, change: Callable[[], list[Any]], storages: Sequence[Storage], fallible: bool
    ) -> list[Any]:
        """Return ``change()``; copies are donated if the change may raise."""
        import jax

        kept = None
        if fallible:
            kept = [s[0] for s in storages]
            for storage, value in zip(storages, kept, strict=True):
                if isinstance(value, jax.Array):
                    storage[0] = jax.numpy.array(value, copy=True)

        def lost() -> bool:
            return any(isinstance(s[0], jax.Array) and s[0].is_deleted() for s in storages)

        return attempt(change, storages, kept, lost)


def is_shared(array: Any) -> bool:
    """Return whether JAX on a CPU reads an array in the memory of NumPy.

    It does so when the computation takes place, after the call has returned and its user may have
    overwritten the array with the next batch.
    """
    if not isinstance(array, np.ndarray):
        return False
    address: int = array.__array_interface__["data"][0]
    return address % SHARED_ALIGNMENT == 0


def shared(function: Function, n_inputs: int) -> list[Storage]:
    """Return the storages of the shared variables that a function reads."""
    return [container.storage for container in function.input_storage][n_inputs:]


def compiled_loop(function: Function, by_row: Sequence[bool]) -> Callable[..., Any]:
    """Return a compiled loop that calls a JAX function once for each batch.

    Parameters
    ----------
    function : Function
        A function compiled by :class:`DonatingJAXLinker`.
    by_row : sequence of bool
        For each explicit input whether it has an example in each row. The inputs after them are
        shared variables.

    Returns
    -------
    callable
        From (data, batches, values of the shared variables) to (their new values, outputs). The
        given values are donated.
    """
    import jax

    # compiler options apply to the outermost function: the step is unwrapped, the loop has them
    call, fgraph = unwrap(function.vm.jit_fn), function.maker.fgraph
    n_inputs = len(by_row)
    updated = {v - n_inputs: o for o, v in fgraph.update_mapping.items()}
    n_outputs = len(fgraph.outputs) - len(updated)

    def loop(data: Sequence[Any], batches: Any, state: list[Any]) -> Any:
        def step(state: list[Any], rows: Any) -> tuple[list[Any], list[Any]]:
            drawn = [a[rows] if r else a for a, r in zip(data, by_row, strict=True)]
            results = call(*drawn, *state)
            new = [results[updated[i]] if i in updated else v for i, v in enumerate(state)]
            return new, results[:n_outputs]

        return jax.lax.scan(step, state, batches)

    return jax.jit(loop, donate_argnums=2, compiler_options=options_of(fgraph))
