"""The random draws of a loss as inputs, and the next values of its shared variables.

An update computes the loss more than once: for the gradient, the curvature, the quadratic model
on the first examples, and the reduction ratio. All of them must see one draw. Therefore every draw
is replaced by an input variable before the loss is analysed, and put back when the update is
complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pytensor.compile.builders import OpFromGraph
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.basic import Apply, Constant, Variable, clone_get_equiv
from pytensor.graph.replace import clone_replace
from pytensor.graph.rewriting.utils import rewrite_graph
from pytensor.graph.traversal import explicit_graph_inputs, graph_inputs, toposort
from pytensor.scan.op import Scan
from pytensor.tensor.random.op import RNGConsumerOp
from pytensor.tensor.random.type import RandomType
from pytensor.tensor.shape import Shape_i
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.errors import CurvatureRuleNotFound, NotABatchLossError
from kfgn_graph.layers.dtypes import has_axes
from kfgn_graph.layers.rewriting import inlined
from kfgn_graph.layers.traversal import clients_of, dependents
from kfgn_graph.printing import describe

Rows = Literal["examples", "shared", "unknown"]


@dataclass(frozen=True, eq=False)
class Draw:
    """A random draw.

    Attributes
    ----------
    value : TensorVariable
        The draw, as a function of its generator.
    rows : {'examples', 'shared', 'unknown'}
        Whether its leading axis enumerates the examples of a batch, whether its shape does not
        depend on their number, or neither is known.
    """

    value: TensorVariable
    rows: Rows


@dataclass(frozen=True, eq=False)
class WithoutDraws:
    """A graph whose random draws are inputs.

    Attributes
    ----------
    targets : list of TensorVariable
        The outputs.
    draws : dict
        Each input that stands for a draw, with the draw.
    updates : dict
        The next value of each shared variable that changes by itself: of generators, and of
        variables with a ``default_update``.
    """

    targets: list[TensorVariable]
    draws: dict[TensorVariable, Draw]
    updates: dict[SharedVariable, Variable]


def is_generator(v: Variable) -> bool:
    """Return whether a variable is the state of a random generator."""
    return isinstance(v.type, RandomType)


def without_draws(
    targets: Sequence[TensorVariable], parameters: Sequence[Variable]
) -> WithoutDraws:
    """Replace the random draws of a graph by inputs.

    Parameters
    ----------
    targets : sequence of TensorVariable
        The loss, and the output at which it is split.
    parameters : sequence of shared variables
        The parameters to train, which have no next value here.

    Raises
    ------
    CurvatureRuleNotFound
        If the distribution of a draw depends on a parameter.
    NotABatchLossError
        If the next state of a generator is ambiguous.
    """
    updates = default_updates(targets, parameters)
    updates = {**declared_updates(targets, parameters), **updates}
    roots = graph_inputs([*targets, *updates.values()])
    if not any(is_generator(v) for v in roots):
        return WithoutDraws(list(targets), {}, updates)
    count = len(targets)
    outputs = [*targets, *updates.values()]
    opened = inlined(outputs, parameters) if _draws_within(outputs) else outputs
    targets, updates = opened[:count], dict(zip(updates, opened[count:], strict=True))
    clients = {
        v: nodes for v, nodes in clients_of(_drawing_nodes(opened)).items() if is_generator(v)
    }
    for v in graph_inputs(opened):
        if v in clients and isinstance(v, SharedVariable) and v not in updates:
            updates[v] = next_state(v, clients)
    _check_distributions(targets, parameters)
    draws = _placeholders(targets)
    replacements = {draw.value: v for v, draw in draws.items()}
    return WithoutDraws(clone_replace(list(targets), replacements), draws, updates)


def default_updates(
    outputs: Sequence[Variable], parameters: Sequence[Variable]
) -> dict[SharedVariable, Variable]:
    """Return the default updates of the shared variables that ``outputs`` read.

    Those of variables that a default update reads are included, as in :func:`pytensor.function`;
    those of the parameters are not.
    """
    found: dict[SharedVariable, Variable] = {}
    pending = list(outputs)
    while pending:
        new = {
            v: v.default_update
            for v in graph_inputs(pending)
            if isinstance(v, SharedVariable) and v.default_update is not None
        }
        new = {v: u for v, u in new.items() if v not in found and v not in parameters}
        found |= new
        pending = list(new.values())
    return found


def declared_updates(
    outputs: Sequence[Variable], parameters: Sequence[Variable]
) -> dict[SharedVariable, Variable]:
    """Return the next values that Ops declare for shared variables, as of running averages.

    The Ops of a library declare them by a method ``update_map``, from the index of an output to
    the index of the input that it succeeds. Where a layer is applied more than once, each
    application reads what the previous one returned, and the last value counts. Generators are
    left to :func:`next_state`.
    """
    found: dict[SharedVariable, Variable] = {}
    for node in toposort(outputs):
        for after, before in _update_map(node).items():
            root = _updated_root(node.inputs[before])
            kept = root in parameters or is_generator(root)
            if isinstance(root, SharedVariable) and not kept:
                found[root] = node.outputs[after]
    return found


def _update_map(node: Apply) -> Mapping[int, int]:
    declared = getattr(node.op, "update_map", None)
    return declared() if callable(declared) else {}


def _updated_root(v: Variable) -> Variable:
    """Return the variable whose successive values lead to v."""
    while v.owner is not None:
        before = _update_map(v.owner).get(v.owner.outputs.index(v))
        if before is None:
            break
        v = v.owner.inputs[before]
    return v


def next_state(
    generator: Variable, clients: Mapping[Variable, Sequence[tuple[Apply, int]]]
) -> Variable:
    """Return the state of a generator after all draws from it.

    Raises
    ------
    NotABatchLossError
        If two Ops read the same state, or an Op does not return the next one.
    """
    state = generator
    while state in clients:
        nodes = list(dict.fromkeys(node for node, _ in clients[state]))
        if len(nodes) > 1:
            raise NotABatchLossError(
                f"{len(nodes)} draws read the same state of the generator {describe(generator)}, "
                "so that its next state is ambiguous: give each draw a generator, or pass it on "
                "with `next_rng, draw = pt.random.normal(rng=rng, return_next_rng=True)`."
            )
        state = _successor(nodes[0], state)
    return state


def _successor(node: Apply, state: Variable) -> Variable:
    """Return the state that a node leaves of the state that it reads."""
    states = [v for v in node.outputs if is_generator(v)]
    if isinstance(node.op, RNGConsumerOp):
        states = [v for k, v in node.op.update(node).items() if k is state]
    elif isinstance(node.op, Scan):
        mapping = node.op.get_oinp_iinp_iout_oout_mappings()["outer_out_from_outer_inp"]
        index = mapping.get(node.inputs.index(state), -1)
        states = [node.outputs[index]] if index >= 0 else []
    if len(states) != 1:
        raise NotABatchLossError(
            f"{node.op} reads the random generator {describe(state)} without returning its next "
            "state, so that every update would repeat the same draw: return the state from the "
            "Op, or set it as the generator's default_update."
        )
    return states[0]


def _draws_within(outputs: Sequence[Variable]) -> bool:
    """Return whether an Op that contains a graph reads a generator."""
    return any(
        isinstance(node.op, OpFromGraph) and any(is_generator(v) for v in node.inputs)
        for node in toposort(outputs)
    )


def _drawing_nodes(targets: Sequence[Variable]) -> list[Apply]:
    return [n for n in toposort(targets) if any(is_generator(v) for v in n.inputs)]


def _check_distributions(targets: Sequence[Variable], parameters: Sequence[Variable]) -> None:
    """Raise :class:`CurvatureRuleNotFound` if a draw has no derivative that it would need."""
    varying = dependents(targets, parameters)
    for node in _drawing_nodes(targets):
        for v in node.inputs:
            if v in varying:
                raise CurvatureRuleNotFound(
                    f"{node.op} draws from a distribution that depends on a parameter, by "
                    f"{describe(v)}: a draw has no derivative. Draw from a fixed distribution and "
                    "transform the draw, such as mu + sigma * pt.random.normal(size=mu.shape)."
                )


def _placeholders(targets: Sequence[Variable]) -> dict[TensorVariable, Draw]:
    """Return an input for each draw that the targets read."""
    drawn = [v for n in _drawing_nodes(targets) for v in n.outputs if not is_generator(v)]
    rows = _rows_of(drawn)
    return {
        v.type(name=v.name or f"draw{k}"): Draw(v, kind)
        for k, (v, kind) in enumerate(zip(drawn, rows, strict=True))
    }


def _rows_of(drawn: Sequence[TensorVariable]) -> list[Rows]:
    """Return for each draw what its leading axis enumerates."""
    lengths = [v.shape[i] for v in drawn for i in range(v.type.ndim)]
    copies = clone_get_equiv([], lengths, copy_inputs=False, copy_orphans=False)
    lengths = [copies[v] for v in lengths]
    found = iter(rewrite_graph(lengths, ("ShapeOpt", "canonicalize")) if lengths else ())
    batch = {v for v in explicit_graph_inputs(drawn) if has_axes(v)}
    known = {v.type.shape[0] for v in batch}
    return [_rows([next(found) for _ in range(v.type.ndim)], batch, known) for v in drawn]


def _rows(lengths: Sequence[Variable], batch: set[Variable], known: set[int | None]) -> Rows:
    """Return what the leading axis of a draw of the given symbolic lengths enumerates."""
    if not all(_is_fixed(v, batch) for v in lengths[1:]):
        return "unknown"
    if not lengths:
        return "shared"
    first = lengths[0]
    if isinstance(first, Constant):
        return "unknown" if int(first.data) in known else "shared"
    if _is_fixed(first, batch):
        return "shared"
    node = first.owner
    by_example = isinstance(node.op, Shape_i) and node.op.i == 0 and node.inputs[0] in batch
    return "examples" if by_example else "unknown"


def _is_fixed(length: Variable, batch: set[Variable]) -> bool:
    """Return whether a length does not depend on the number of examples."""
    node = length.owner
    if node is not None and isinstance(node.op, Shape_i) and node.inputs[0] in batch:
        return node.op.i > 0
    return not any(True for _ in explicit_graph_inputs([length]))
