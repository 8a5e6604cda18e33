"""Dependence between the variables of a graph, along differentiable paths."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from pytensor.gradient import DisconnectedGrad
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.traversal import explicit_graph_inputs, toposort
from pytensor.tensor.shape import Shape, Shape_i

from kfgn_graph.layers.dtypes import has_axes, is_float
from kfgn_graph.layers.ir import Held


def dependents(outputs: Sequence[Variable], sources: Collection[Variable]) -> dict[Variable, None]:
    """Return, in forward order, the real-valued variables that depend on ``sources``.

    A path ends at integers and booleans (sizes, labels, comparisons), which have no derivative,
    and at values or statistics of the batch that are held. The sources are included.
    """
    found: dict[Variable, None] = dict.fromkeys(sources)
    for node in toposort(outputs):
        stops = isinstance(node.op, Held | DisconnectedGrad)
        if any(v in found for v in node.inputs) and not stops:
            found.update(dict.fromkeys(v for v in node.outputs if is_float(v)))
    return found


def value_roots(outputs: Sequence[Variable], stop: Collection[Variable] = ()) -> set[Variable]:
    """Return the roots that ``outputs`` depend on by value, not by shape alone.

    The variables ``stop`` are not looked through.
    """
    found: set[Variable] = set()
    seen = set(stop)
    pending = list(outputs)
    while pending:
        v = pending.pop()
        if v in seen:
            continue
        seen.add(v)
        if v.owner is None:
            found.add(v)
        elif not isinstance(v.owner.op, Shape | Shape_i):
            pending.extend(v.owner.inputs)
    return found


def value_nodes(outputs: Sequence[Variable]) -> list[Apply]:
    """Return, in forward order, the nodes that ``outputs`` depend on by value, not by shape."""
    reached: set[Variable] = set()
    pending = list(outputs)
    while pending:
        v = pending.pop()
        if v not in reached:
            reached.add(v)
            if v.owner is not None and not isinstance(v.owner.op, Shape | Shape_i):
                pending.extend(v.owner.inputs)
    return [node for node in toposort(outputs) if not reached.isdisjoint(node.outputs)]


def reads_batch(v: Variable, stop: Collection[Variable] = ()) -> bool:
    """Return whether v depends on a batch input by value, other than through ``stop``."""
    batch = [u for u in explicit_graph_inputs([v]) if has_axes(u)]
    return not value_roots([v], stop).isdisjoint(batch)


def differentiable_in(output: Variable) -> set[Variable]:
    """Return the variables that ``output`` depends on along a path of real-valued variables."""
    found = {output}
    for node in reversed(list(toposort([output]))):
        if found.intersection(node.outputs):
            found.update(v for v in node.inputs if is_float(v))
    return found


def clients_of(nodes: Iterable[Apply]) -> dict[Variable, list[tuple[Apply, int]]]:
    """Return the clients of each variable among ``nodes``, as pairs (node, input index)."""
    clients: dict[Variable, list[tuple[Apply, int]]] = {}
    for node in nodes:
        for index, variable in enumerate(node.inputs):
            clients.setdefault(variable, []).append((node, index))
    return clients


def nodes_between(output: Variable, varying: Collection[Variable]) -> list[Apply]:
    """Return, in forward order, the nodes on the paths from ``varying`` to ``output``.

    Nodes used only for their shape are excluded.
    """
    reached: set[Variable] = set()
    pending = [output]
    while pending:
        v = pending.pop()
        if v in varying and v not in reached:
            reached.add(v)
            pending.extend(v.owner.inputs if v.owner is not None else ())
    return [node for node in toposort([output]) if reached.intersection(node.outputs)]


def bottlenecks(
    output: Variable, varying: Collection[Variable], stop: Iterable[Apply]
) -> list[Variable]:
    """Return the variables that lie on every path to ``output``, nearest to it first.

    The nodes are visited backwards from ``output``. Whenever a single varying variable is live,
    every path runs through it. The traversal ends at the first of the nodes ``stop``.
    """
    stop_nodes = set(stop)
    live = {output}
    single: list[Variable] = []
    for node in reversed(list(toposort([output]))):
        if not live.intersection(node.outputs):
            continue
        if len(live) == 1:
            single.extend(live)
        if node in stop_nodes:
            break
        live.difference_update(node.outputs)
        live.update(v for v in node.inputs if v in varying)
    return single
