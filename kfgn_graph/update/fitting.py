"""Whether the shapes of a batch fit the network and each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.blockwise import Blockwise
from pytensor.tensor.elemwise import Elemwise

from kfgn_graph.errors import BackendError, BatchError
from kfgn_graph.layers.graph import LayerGraph
from kfgn_graph.printing import describe, name_of
from kfgn_graph.update.values import Values, length_of

#: What Ops of PyTensor raise if shapes do not fit, while a graph is built, compiled or computed.
UNFIT = (ValueError, TypeError, AssertionError)


@contextmanager
def unfit_refused(
    graph: LayerGraph,
    inputs: Sequence[Variable],
    arrays: Sequence[Any],
    shared: Mapping[Variable, tuple[int, ...]],
    known_ops: bool,
) -> Iterator[None]:
    """Turn what the block raises for the first batch of its shapes into errors of the package.

    Parameters
    ----------
    graph : LayerGraph
        The layers, whose input widths are compared with the widths of their weights.
    inputs : sequence of Variable
        The inputs of the update.
    arrays : sequence of arrays
        One for each input.
    shared : mapping
        The shapes of the arrays that the graph reads besides.
    known_ops : bool
        Whether no Op is the user's own, which may raise errors for other reasons.

    Raises
    ------
    BatchError
        If the block raises one of :data:`UNFIT`, and all Ops are known.
    BackendError
        If the backend has no implementation of an Op.
    """
    try:
        yield
    except NotImplementedError as error:
        first = next(iter(str(error).splitlines()), "")
        raise BackendError(
            f"the backend cannot compile an Op of the loss ({first}): use another backend."
        ) from error
    except UNFIT as error:
        if not known_ops:
            raise
        pairs = {v: a.shape for v, a in zip(inputs, arrays, strict=True)} | dict(shared)
        shapes = ", ".join(f"{name_of(v)} {shape}" for v, shape in pairs.items())
        reason = next(_unfit_layers(graph, inputs, arrays), None)
        first = next(iter(str(error).splitlines()), "")
        raise BatchError(
            f"an update on arrays of these shapes failed: {shapes}. "
            + (reason or f"{type(error).__name__}: {first}. Check that they fit the network.")
        ) from error


def _unfit_layers(
    graph: LayerGraph, inputs: Sequence[Variable], arrays: Sequence[Any]
) -> Iterator[str]:
    """Return a sentence for each layer whose input has another width than its weight."""
    sides = [side for side in graph.sides if side.index is None]
    for layer, a in [(side, use.input) for side in sides for use in side.uses]:
        try:
            (found,) = Values(inputs, [length_of(a, a.type.ndim - 1)])(arrays)
        except Exception:  # the shape depends on what does not fit
            continue
        if int(found) != layer.shape[0]:
            yield (
                f"Layer {layer.name} has a weight for inputs of width {layer.shape[0]}, but its "
                f"input {describe(a)} has width {int(found)}."
            )


def check_broadcasting(given: Variable, static: Variable, fixed: Mapping[Variable, Any]) -> None:
    """Raise :class:`BatchError` if an axis is repeated only because its length happens to be 1.

    An axis is broadcast if its type says that its length is 1, as PyTensor has it. XLA also
    broadcasts an axis whose length is 1 in one batch.

    Parameters
    ----------
    given : Variable
        A variable of the user's graph.
    static : Variable
        The same variable for inputs of known shape.
    fixed : mapping
        The variables of the user's graph that have been replaced.
    """
    pending, seen = [(given, static)], set()
    while pending:
        old, new = pending.pop()
        if old in seen or old in fixed or old.owner is None or new.owner is None:
            continue
        seen.add(old)
        _check_node(old.owner, new.owner)
        pending.extend(zip(old.owner.inputs, new.owner.inputs, strict=True))


def _check_node(old: Apply, new: Apply) -> None:
    for axis in range(_elementwise_axes(old)):
        lengths = {
            v: w.type.shape[axis]
            for v, w in zip(old.inputs, new.inputs, strict=True)
            if v.type.shape[axis] != 1
        }
        known = set(lengths.values()) - {None}
        if 1 in known and len(known) > 1:
            listed = ", ".join(f"{describe(v)} has {n}" for v, n in lengths.items())
            raise BatchError(
                f"axis {axis} of {describe(old.outputs[0])} combines different lengths: {listed}. "
                "If an axis of length 1 is to be repeated, say so in its type, as by "
                "pt.tensor(shape=(None, 1)) or pt.specify_broadcastable; otherwise pass an array "
                "of the full shape."
            )


def _elementwise_axes(node: Apply) -> int:
    """Return the number of leading axes along which inputs are combined entry by entry."""
    if isinstance(node.op, Elemwise):
        return node.outputs[0].type.ndim
    return node.op.batch_ndim(node) if isinstance(node.op, Blockwise) else 0
