"""Verification that every use of every parameter is recognised."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pytensor.graph.basic import Apply, Variable
from pytensor.tensor.shape import Shape, Shape_i

from kfgn_graph.errors import UnmatchedParameterError
from kfgn_graph.layers.ir import Affine, Held
from kfgn_graph.layers.traversal import clients_of, differentiable_in, value_nodes
from kfgn_graph.layers.views import is_view
from kfgn_graph.printing import describe, describe_path

Clients = Mapping[Variable, list[tuple[Apply, int]]]


def affine_uses(parameter: Variable, clients: Clients) -> list[tuple[Apply, int]]:
    """Return the uses of ``parameter`` as the weight or bias of an :class:`Affine`."""
    uses = []
    for node, index in clients.get(parameter, []):
        if isinstance(node.op, Affine) and index > 0:
            uses.append((node, index))
        elif index == 0 and is_view(node):
            uses.extend(affine_uses(node.outputs[0], clients))
    return uses


def unmatched_path(parameter: Variable, clients: Clients) -> list[Apply] | None:
    """Return the path from ``parameter`` to its first use outside an affine map, or None."""
    for node, index in clients.get(parameter, []):
        if isinstance(node.op, Shape | Shape_i | Held) or (
            isinstance(node.op, Affine) and index > 0
        ):
            continue
        if index > 0 or not is_view(node):
            return [node]
        rest = unmatched_path(node.outputs[0], clients)
        if rest is not None:
            return [node, *rest]
    return None


def find_unmatched(
    loss: Variable | None, parameters: Sequence[Variable], tied: Collection[Variable] = ()
) -> dict[Variable, str]:
    """Return the parameters that the layers do not fully cover, each with the reason.

    Parameters
    ----------
    loss : TensorVariable or None
        The data loss, in the intermediate representation.
    parameters : sequence of shared variables
        The parameters to train.
    tied : collection of shared variables
        The weights and biases that may be read by several affine maps.
    """
    clients = clients_of([] if loss is None else value_nodes([loss]))
    reasons = {}
    for parameter in parameters:
        uses = affine_uses(parameter, clients)
        path = unmatched_path(parameter, clients)
        if path is not None:
            reasons[parameter] = f"first use that no pattern matches: {describe_path(path)}"
        elif len(uses) > 1 and parameter not in tied:
            where = "; ".join(str(node) for node, _ in uses)
            reasons[parameter] = f"it is shared (tied) by {len(uses)} affine maps: {where}"
        elif not uses:
            reasons[parameter] = "no layer reads it"
    for parameter in parameters:
        if parameter not in reasons and parameter not in tied:
            reasons |= _orphaned_bias(parameter, clients, parameters, reasons)
    return reasons


def _orphaned_bias(
    parameter: Variable,
    clients: Clients,
    parameters: Sequence[Variable],
    reasons: Mapping[Variable, str],
) -> dict[Variable, str]:
    """Return the reason if the parameter is the bias of a layer with an unmatched weight."""
    ((node, index),) = affine_uses(parameter, clients)
    if index == 1:
        return {}
    unmatched = [v for v in reasons if (node, 1) in affine_uses(v, clients)]
    if not unmatched:
        return {}
    return {
        parameter: f"it is the bias of a layer with an unmatched weight: {describe(unmatched[0])}"
    }


def raise_unmatched(reasons: Mapping[Variable, str]) -> None:
    """Raise :class:`UnmatchedParameterError` for the first parameter of ``reasons``."""
    parameter, reason = next(iter(reasons.items()))
    raise UnmatchedParameterError(
        f"parameter {describe(parameter)} is not the weight or bias of exactly one affine map "
        f"a @ W + b: {reason}. Rewrite the use as such a map, remove the parameter from `params`, "
        "or pass unmatched='gradient' (train it by plain gradient steps) or unmatched='freeze' "
        "(leave it unchanged)."
    )


def check_movable(
    loss: Variable, parameters: Sequence[Variable], frozen: Collection[Variable]
) -> None:
    """Raise :class:`UnmatchedParameterError` for a parameter without a gradient."""
    moving = differentiable_in(loss)
    for p in parameters:
        if p not in moving and p not in frozen:
            raise UnmatchedParameterError(
                f"the loss has no gradient in parameter {describe(p)}, which it reads only "
                "through integers, comparisons or shapes: remove it from `params`, or pass "
                "unmatched='freeze' (leave it unchanged)."
            )
