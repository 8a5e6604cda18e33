"""The uses of parameters within one step of a loop.

A use a W + b whose input a depends on sequences alone is computed for all steps before the loop.
One whose input depends on the state is perturbed: see
:class:`~kfgn_graph.layers.ir.Perturbation`. A parameter that enters elsewhere is read as a copy
for each example: see :mod:`kfgn_graph.layers.copies`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Constant, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import clone_replace
from pytensor.graph.traversal import graph_inputs, toposort
from pytensor.tensor.shape import Shape, Shape_i
from pytensor.tensor.type import TensorType

from kfgn_graph.layers.copies import LARGEST, over_copies
from kfgn_graph.layers.ir import Affine, affine
from kfgn_graph.layers.loops import Loop, NotOpened, reads
from kfgn_graph.layers.traversal import clients_of
from kfgn_graph.layers.verification import unmatched_path
from kfgn_graph.layers.views import shapes_of, steps_of, underlying_parameter
from kfgn_graph.printing import describe
from kfgn_graph.shared_values import value_shape


@dataclass(frozen=True, eq=False)
class Use:
    """A use h = a W + b within a step.

    Attributes
    ----------
    input : Variable
        The variable a of the step, as found; :attr:`Uses.inputs` has those of perturbed uses as
        functions of what the loop reads.
    weight : Variable
        W as a function of the step's parameters.
    bias : Variable or None
        b, likewise.
    stand_in : Variable
        The variable of the step in the place of h, or of its perturbation.
    in_time : bool
        Whether h differs from step to step.
    """

    input: Variable
    weight: Variable
    bias: Variable | None
    stand_in: Variable
    in_time: bool = True


@dataclass(frozen=True, eq=False)
class Uses:
    """The uses of parameters within a step.

    Attributes
    ----------
    before : tuple of Use
        Those that are computed before the loop; ``stand_in`` is h.
    perturbed : tuple of Use
        Those that are perturbed; ``stand_in`` is the perturbation.
    copies : dict
        The parameters that each example has a copy of, with the variable of the step that holds
        the copies, of shape (N, *shape).
    outputs : tuple of Variable
        The values that the step returns.
    inputs : tuple of Variable
        The inputs a of the perturbed uses.
    """

    before: tuple[Use, ...]
    perturbed: tuple[Use, ...]
    copies: dict[Variable, Variable]
    outputs: tuple[Variable, ...]
    inputs: tuple[Variable, ...]


def find_uses(loop: Loop, trained: Collection[Variable]) -> Uses:
    """Return the uses of parameters within a step of a loop.

    Raises
    ------
    NotOpened
        If a parameter outside affine maps is too large for an exact dense block, or enters where
        there is no example.
    """
    return _Step(loop, loop.parameters(trained), trained).uses()


class _Step:
    """The graph of a step, from which the uses are taken out one by one."""

    def __init__(
        self, loop: Loop, parameters: dict[Variable, Variable], trained: Collection[Variable]
    ) -> None:
        self._parameters = parameters
        self._trained = trained
        self._states = [state.read for state in loop.states]
        self._sequences = set(loop.sequences)
        self._perturbed: set[Apply] = set()
        self._count = len(loop.outputs)
        roots = [v for v in graph_inputs(loop.outputs) if not isinstance(v, Constant)]
        self._graph = FunctionGraph(roots, list(loop.outputs), clone=False)

    def uses(self) -> Uses:
        copies = self._copies()
        before: list[Use] = []
        perturbed: list[Use] = []
        while (node := self._next_use()) is not None:
            a = node.inputs[0]
            if reads(a, self._states) or reads(a, self._parameters):
                perturbed.append(self._perturb(node))
            else:
                before.append(self._compute_before(node))
        found = list(self._graph.outputs)
        outputs, inputs = tuple(found[: self._count]), tuple(found[self._count :])
        return Uses(tuple(before), tuple(perturbed), copies, outputs, inputs)

    @property
    def _nodes(self) -> list[Apply]:
        return list(toposort(self._graph.outputs))

    def _replace(self, old: Variable, new: Variable) -> None:
        self._graph.replace(old, new, import_missing=True)

    def _next_use(self) -> Apply | None:
        for node in self._nodes:
            if isinstance(node.op, Affine) and node not in self._perturbed:
                W = underlying_parameter(node.inputs[1], self._parameters)
                if W is not None:
                    return node
        return None

    def _stand_in(self, node: Apply) -> Variable:
        """Return a variable for h of what is known of its shape."""
        h, width = node.outputs[0], self._shape(node.inputs[1])[1]
        return TensorType(h.type.dtype, (*h.type.shape[:-1], width))()

    def _use(self, node: Apply, in_time: bool) -> Use:
        a, W, *biases = node.inputs
        return Use(a, W, biases[0] if biases else None, self._stand_in(node), in_time)

    def _compute_before(self, node: Apply) -> Use:
        use = self._use(node, reads(node.inputs[0], self._sequences))
        if use.in_time:
            self._sequences.add(use.stand_in)
        self._replace(node.outputs[0], use.stand_in)
        return use

    def _perturb(self, node: Apply) -> Use:
        use = self._use(node, True)
        if any(n is None for n in use.stand_in.type.shape[1:]):
            raise NotOpened(
                f"the lengths of {describe(node.outputs[0])} within the loop are not known: "
                "declare the shape of its input"
            )
        self._graph.add_output(use.input)
        own = affine(*node.inputs)
        self._perturbed.add(own.owner)
        self._replace(node.outputs[0], own + use.stand_in)
        return use

    def _copies(self) -> dict[Variable, Variable]:
        """Replace the parameters outside affine maps by copies, and return these."""
        clients = clients_of(self._nodes)
        copied = [p for p in self._parameters if unmatched_path(p, clients) is not None]
        self._separate_biases(copied)
        copies = {p: self._copy(p) for p in copied}
        fixed = self._functions_of_parameters()
        for node in self._nodes if copies else ():
            if isinstance(node.op, Shape | Shape_i) or node.outputs[0] in fixed:
                continue
            functions = [v for v in dict.fromkeys(node.inputs) if v in fixed and reads(v, copied)]
            new = over_copies(node, functions, copies, 1) if functions else None
            if functions and new is None:
                raise NotOpened(
                    f"{node.op} in the loop cannot be computed from one example at a time"
                )
            if new is not None:
                self._replace(node.outputs[0], new)
        for p in copied:
            if any(reads(v, [p]) for v in self._graph.outputs):
                raise NotOpened(f"a step of the loop reads {describe(p)} without an example")
            self._parameters.pop(p)
        return copies

    def _copy(self, p: Variable) -> Variable:
        shape = self._shape(p)
        size = int(np.prod(shape))
        if size > LARGEST:
            raise NotOpened(
                f"{describe(p)} has {size:,} entries, and a parameter that a loop reads outside "
                f"affine maps at most {LARGEST:,}"
            )
        return TensorType(p.type.dtype, (None, *shape))(name=p.name)

    def _shape(self, view: Variable) -> tuple[int, ...]:
        """Return the shape of a view of a parameter, from the parameter's value."""
        outer = clone_replace(view, self._parameters, rebuild_strict=False)
        p = underlying_parameter(outer, self._trained)
        if p is None:
            raise NotOpened(f"{describe(view)} is no view of a parameter")
        return shapes_of(steps_of(outer, p), value_shape(p))[-1]

    def _separate_biases(self, copied: list[Variable]) -> None:
        """Add biases apart from products, where the product or the bias is of copies."""
        for node in self._nodes if copied else ():
            if not isinstance(node.op, Affine) or len(node.inputs) < 3:
                continue
            a, W, b = node.inputs
            if reads(W, copied) and not reads(b, copied):
                copied.append(underlying_parameter(b, self._parameters))
            if reads(b, copied):
                self._replace(node.outputs[0], affine(a, W) + b)

    def _functions_of_parameters(self) -> set[Variable]:
        """Return the variables of a step that are functions of parameters alone."""
        fixed = set(self._parameters)
        for node in self._nodes:
            roots = [v for v in graph_inputs(node.inputs) if not _is_constant(v)]
            if roots and all(v in self._parameters for v in roots):
                fixed.update(node.outputs)
        return fixed


def _is_constant(v: Variable) -> bool:
    return isinstance(v, Constant | SharedVariable)
