"""Aliasing analysis: which copies that lazy branches return can be left out.

A branch that returns one of its inputs unchanged returns a copy, because PyTensor cannot exclude
that the result is later overwritten. The copy is unnecessary if the result only replaces the
input as the new value of a shared variable, or if nothing else uses the input's memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from pytensor.compile.ops import DeepCopyOp
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import AbstractFunctionGraph


class Buffers:
    """The variables of a graph that share memory, and those that are overwritten.

    Parameters
    ----------
    nodes : sequence of Apply
        All nodes of the graph, in the order of evaluation.
    inputs, outputs : sequences of Variable
        The inputs and outputs of the graph.
    replacements : mapping of Variable to Variable
        From outputs to the inputs that they replace after the evaluation.
    """

    def __init__(
        self,
        nodes: Sequence[Apply],
        inputs: Sequence[Variable],
        outputs: Sequence[Variable],
        replacements: Mapping[Variable, Variable],
    ) -> None:
        self._inputs, self._outputs, self._replacements = set(inputs), list(outputs), replacements
        self._sources: dict[Variable, Variable] = {}
        self._overwritten: set[Variable] = set()
        self._last_clients: dict[Variable, Apply] = {}
        self._uses: Counter[Variable] = Counter()
        for node in nodes:
            self._uses.update(node.inputs)
            self._last_clients |= {self._chain(v)[-1]: node for v in node.inputs}
            for i, shared in (node.op.view_map | node.op.destroy_map).items():
                for k in shared:
                    self._sources[node.outputs[i]] = node.inputs[k]
            for k in chain.from_iterable(node.op.destroy_map.values()):
                self._overwritten.update(self._chain(node.inputs[k]))
        self._returned = {self._chain(v)[-1] for v in outputs}

    def _chain(self, variable: Variable) -> list[Variable]:
        """Return a variable and its aliases up to the one for which memory is allocated."""
        links = [variable]
        while links[-1] in self._sources:
            links.append(self._sources[links[-1]])
        return links

    def only_replaces(self, argument: Variable, result: Variable) -> bool:
        """Return whether a result only replaces an input, and neither is overwritten."""
        intact = not {argument, result} & self._overwritten
        once = self._outputs.count(result) == 1
        return intact and once and self._replacements.get(result) is argument

    def uses(self, variable: Variable) -> int:
        """Return how many times the variable is an input of a node."""
        return self._uses[variable]

    def is_last_use(self, argument: Variable, client: Apply) -> bool:
        """Return whether a client is the last to use an argument, which is no alias."""
        allocated = argument not in self._sources and not isinstance(argument, Constant)
        needed = argument in self._inputs or argument in self._returned
        return allocated and not needed and self._last_clients[argument] is client


def replacements_of(fgraph: AbstractFunctionGraph) -> dict[Variable, Variable]:
    """Return a compiled function's outputs that replace inputs, each with its input."""
    mapping = getattr(fgraph, "update_mapping", None) or {}
    return {fgraph.outputs[o]: fgraph.inputs[i] for o, i in mapping.items()}


def unneeded_copies(
    node: Apply, branch: AbstractFunctionGraph, buffers: Buffers
) -> dict[Variable, Variable]:
    """Return the copies of its own inputs that a branch need not make.

    Parameters
    ----------
    node : Apply
        A lazy conditional.
    branch : FunctionGraph
        One of its branches.
    buffers : Buffers
        Of the graph that holds the conditional.

    Returns
    -------
    dict
        From copies in the branch to the branch's inputs.
    """
    arguments = dict(zip(branch.inputs, node.inputs[1:], strict=True))
    copies = [
        (result, copy, copy.owner.inputs[0])
        for result, copy in zip(node.outputs, branch.outputs, strict=True)
        if copy.owner is not None and isinstance(copy.owner.op, DeepCopyOp)
    ]
    returned = Counter(v for _, _, v in copies)
    return {
        copy: v
        for result, copy, v in copies
        if v in arguments
        and returned[v] == 1
        and (
            buffers.only_replaces(arguments[v], result) or buffers.is_last_use(arguments[v], node)
        )
    }
