"""Random generators as JAX keys, which persist in shared arrays.

PyTensor's JAX linker replaces a shared generator by a copy for each compiled function, so that
functions for several batch sizes would repeat each other's draws. Here the key of a generator is a
shared array, which all functions of an update share, and which a checkpoint can hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytensor
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.op import Op
from pytensor.graph.traversal import graph_inputs, toposort
from pytensor.link.jax.dispatch import jax_funcify
from pytensor.tensor.random.op import RandomVariable
from pytensor.tensor.random.type import RandomType, random_generator_type
from pytensor.tensor.type import TensorType
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import BackendError
from kfgn_graph.printing import describe

KEY = TensorType("uint32", (2,))


class GeneratorOfKey(Op):
    """The generator of a JAX key.

    Parameters
    ----------
    index : int
        A number that keeps equal generators apart: PyTensor's JAX draws overwrite the generator
        that they read.
    """

    __props__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def make_node(self, key: Variable) -> Apply:
        """Return the node."""
        return Apply(self, [key], [random_generator_type()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: Sequence[Any]) -> None:
        """Raise: keys have a meaning to JAX alone."""
        raise NotImplementedError("JAX keys are evaluated by JAX.")


class KeyOfGenerator(Op):
    """The JAX key of a generator."""

    __props__ = ()

    def make_node(self, generator: Variable) -> Apply:
        """Return the node."""
        return Apply(self, [generator], [KEY()])

    def perform(self, node: Apply, inputs: Sequence[Any], output_storage: Sequence[Any]) -> None:
        """Raise: keys have a meaning to JAX alone."""
        raise NotImplementedError("JAX keys are evaluated by JAX.")


@jax_funcify.register(GeneratorOfKey)
def jax_funcify_generator(op: GeneratorOfKey, **kwargs: Any) -> Callable[..., Any]:
    """Return a function that wraps a key as PyTensor's draws expect it."""
    return lambda key: {"jax_state": key}


@jax_funcify.register(KeyOfGenerator)
def jax_funcify_key(op: KeyOfGenerator, **kwargs: Any) -> Callable[..., Any]:
    """Return a function that unwraps a key."""
    return lambda generator: generator["jax_state"]


def over_keys(
    values: Sequence[TensorVariable], updates: Mapping[SharedVariable, Variable]
) -> tuple[list[TensorVariable], dict[SharedVariable, Variable]]:
    """Return draws and next values over keys instead of generators.

    Parameters
    ----------
    values : sequence of TensorVariable
        The draws.
    updates : mapping
        The next values of shared variables, generators included.

    Raises
    ------
    BackendError
        If an Op other than a draw reads a generator, or a generator has no JAX key.
    """
    outputs = [*values, *updates.values()]
    roots = [v for v in graph_inputs(outputs) if isinstance(v.type, RandomType)]
    if not roots:
        return list(values), dict(updates)
    new: dict[Variable, Variable] = {v: shared_key(v) for v in roots}
    keys = dict(new)
    for index, node in enumerate(toposort(outputs)):
        if any(isinstance(v.type, RandomType) for v in [*node.inputs, *node.outputs]):
            new |= zip(node.outputs, _drawn(node, index, new), strict=True)
        elif any(v in new for v in node.inputs):
            inputs = [new.get(v, v) for v in node.inputs]
            new |= zip(node.outputs, node.clone_with_new_inputs(inputs).outputs, strict=True)
    changed = {keys.get(v, v): new.get(value, value) for v, value in updates.items()}
    return [new.get(v, v) for v in values], changed


def _drawn(node: Apply, index: int, new: Mapping[Variable, Variable]) -> list[Variable]:
    """Return the next key and the draw of a node."""
    if not isinstance(node.op, RandomVariable):
        raise BackendError(
            f"backend='jax': {node.op} reads a random generator, but only the draws of "
            "pt.random have a JAX key. Draw outside of this Op, or choose backend='numba'."
        )
    key, *others = [new.get(v, v) for v in node.inputs]
    state, draw = node.op.make_node(GeneratorOfKey(index)(key), *others).outputs
    draw.name = node.outputs[1].name
    return [KeyOfGenerator()(state), draw]


def shared_key(generator: Variable) -> SharedVariable:
    """Return the key that PyTensor's JAX mode derives from a shared generator, as a shared array.

    Raises
    ------
    BackendError
        If the generator is not shared, or its bit generator is not PCG64.
    """
    value = generator.get_value(borrow=True) if isinstance(generator, SharedVariable) else None
    kind = getattr(getattr(value, "bit_generator", value), "__class__", type(None)).__name__
    if kind not in ("PCG64", "PCG64DXSM"):
        raise BackendError(
            f"backend='jax': the random generator {describe(generator)} has no JAX key, since it "
            f"is a {kind}: use pt.random.shared_rng(np.random.default_rng(seed)), or choose "
            "backend='numba'."
        )
    state = value.bit_generator.state["state"]["state"]  # type: ignore[union-attr]
    words = [(state >> 32 * i) & 0xFFFFFFFF for i in range(2)]
    key = pytensor.shared(np.array(words, np.uint32), name=generator.name, shape=(2,))
    key.tag.random_state = True
    return key
