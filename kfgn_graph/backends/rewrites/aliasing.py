"""Arrays that a lazy branch passes on: a copy is needed only where it could be noticed.

PyTensor copies whatever a branch returns as it was given, so that nothing written into the result
is written into the argument. Factors and inverses that are not due are passed on at most updates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from pytensor.compile.ops import DeepCopyOp
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import AbstractFunctionGraph


class Buffers:
    """Which variables of a graph share memory, and who writes into it.

    Parameters
    ----------
    nodes : sequence of Apply
        All of the graph's.
    inputs, outputs : sequences of Variable
        Of the graph.
    updates : mapping of Variable to Variable
        Outputs to the inputs that they replace when the graph has been computed.
    """

    def __init__(
        self,
        nodes: Sequence[Apply],
        inputs: Sequence[Variable],
        outputs: Sequence[Variable],
        updates: Mapping[Variable, Variable],
    ) -> None:
        self._inputs, self._outputs, self._updates = set(inputs), list(outputs), updates
        self._sources: dict[Variable, Variable] = {}
        self._written: set[Variable] = set()
        self._last_readers: dict[Variable, Apply] = {}
        self._reads: Counter[Variable] = Counter()
        for node in nodes:
            self._reads.update(node.inputs)
            self._last_readers |= {self._chain(v)[-1]: node for v in node.inputs}
            for i, read in (node.op.view_map | node.op.destroy_map).items():
                for k in read:
                    self._sources[node.outputs[i]] = node.inputs[k]
            for k in chain.from_iterable(node.op.destroy_map.values()):
                self._written.update(self._chain(node.inputs[k]))
        self._returned = {self._chain(v)[-1] for v in outputs}

    def _chain(self, variable: Variable) -> list[Variable]:
        """Return a variable and those whose memory it has, to the one that it is allocated for."""
        links = [variable]
        while links[-1] in self._sources:
            links.append(self._sources[links[-1]])
        return links

    def replaced(self, argument: Variable, result: Variable) -> bool:
        """Return whether a result is but an input's next value, and neither is written into."""
        unwritten = not {argument, result} & self._written
        alone = self._outputs.count(result) == 1
        return unwritten and alone and self._updates.get(result) is argument

    def reads(self, variable: Variable) -> int:
        """Return how often nodes of the graph read a variable."""
        return self._reads[variable]

    def handed_over(self, argument: Variable, reader: Apply) -> bool:
        """Return whether an argument is but the reader's, which is the last to need its memory.

        The graph's nodes have to be computed in the order in which they were given.
        """
        own = argument not in self._sources and not isinstance(argument, Constant)
        needed = argument in self._inputs or argument in self._returned
        return own and not needed and self._last_readers[argument] is reader


def updates_of(fgraph: AbstractFunctionGraph) -> dict[Variable, Variable]:
    """Return the outputs of a compiled function that replace inputs, with those."""
    mapping = getattr(fgraph, "update_mapping", None) or {}
    return {fgraph.outputs[o]: fgraph.inputs[i] for o, i in mapping.items()}


def passed_on(
    node: Apply, branch: AbstractFunctionGraph, buffers: Buffers
) -> dict[Variable, Variable]:
    """Return the copies of its own inputs that a branch returns and nobody would miss.

    Parameters
    ----------
    node : Apply
        Of the choice between branches.
    branch : FunctionGraph
        One of them.
    buffers : Buffers
        Of the graph around the choice.

    Returns
    -------
    dict
        Copies in the branch to the inputs of the branch.
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
        and (buffers.replaced(arguments[v], result) or buffers.handed_over(arguments[v], node))
    }
