"""The table that :meth:`Update.explain` prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from kfgn_graph.curvature.methods import Auto, KroneckerMethod, Method
from kfgn_graph.heads import find_head
from kfgn_graph.layers.functions_of_sums import FACTOR
from kfgn_graph.layers.graph import DiagonalParameter, Layer, LayerGraph
from kfgn_graph.layers.traversal import reads_batch
from kfgn_graph.notebook import html_table
from kfgn_graph.printing import name_of
from kfgn_graph.shared_values import value_shape
from kfgn_graph.step.preconditioners import preconditioner_of
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.state import block_shapes, factor_shapes

BYTES = {"float64": 8, "float32": 4, "float16": 2}
HEAD = ("layer", "weight", "bias", "Q", "G", "Gflop to factor and solve", "MiB of factors")
WIDTHS = (14, 14, 5, 10, 10, 26, 14)
"""The least numbers of characters of the columns."""
Cells = tuple[str, ...]


def explain(
    graph: LayerGraph,
    settings: Settings,
    backend: str,
    first_updates: Sequence[tuple[str, float]],
    choice: str = "",
) -> str:
    """Return a table of layers with the shapes, work and memory of their factors.

    Parameters
    ----------
    graph, settings, backend
        The update's network, its settings, and the name of its backend.
    first_updates : sequence of (str, float)
        For each first call of a compiled function, the shapes of its batch and its seconds.
    choice : str
        Why the method was chosen; empty if the user chose it.
    """
    rows, notes = _table(graph, settings)
    lines = [*_heading(graph, settings, backend, choice), "", *aligned(rows), *notes]
    return "\n".join([*lines, *_remarks(graph, first_updates)])


def explain_html(
    graph: LayerGraph,
    settings: Settings,
    backend: str,
    first_updates: Sequence[tuple[str, float]],
    choice: str = "",
) -> str:
    """Return what :func:`explain` does, in HTML."""
    title, *lines = _heading(graph, settings, backend, choice)
    (head, *rows), notes = _table(graph, settings)
    return html_table(title, head, rows, [*lines, *notes, *_remarks(graph, first_updates)])


def _table(graph: LayerGraph, settings: Settings) -> tuple[list[Cells], list[str]]:
    """Return the rows of the table of layers, the headings first, and the lines below it."""
    found = preconditioner_of(settings.method).table(graph, settings)
    if found is not None:
        return found
    summed = [layer for layer in graph.layers if is_sum(settings.method, layer)]
    rows = _layer_rows(graph.layers, summed, graph.diagonal, BYTES[graph.loss.type.dtype])
    return [HEAD, *rows], _reused_weights(graph, summed) + _diagonals(graph)


def _heading(graph: LayerGraph, settings: Settings, backend: str, choice: str) -> list[str]:
    """Return the lines on method, loss, damping and periods."""
    head = find_head(graph)
    method = settings.method
    surrogate = "" if graph.surrogate is None else f"; curvature: {graph.surrogate.summary}"
    return [
        f"{type(method).__name__} (Eq. {method.equations}) on {backend}, "
        f"{graph.loss.type.dtype}{choice}",
        f"loss: {head.name}, split at {name_of(graph.output)}"
        + (f", {head.distribution} targets" if head.distribution else "")
        + surrogate,
        f"damping: {settings.damping}; step {settings.step}; l2 {settings.l2}",
        schedule_of(settings),
    ]


def _remarks(graph: LayerGraph, first_updates: Sequence[tuple[str, float]]) -> list[str]:
    """Return the lines on other parameters, on penalties and on the first updates."""
    lines = []
    for parameter, reason in graph.unmatched.items():
        lines.append(f"{name_of(parameter)}: {graph.unmatched_treatment}, since {reason}")
    if any(v.name.startswith(FACTOR) and reads_batch(c) for v, c in graph.held.items()):
        lines.append(
            "held: the derivatives of the loss in sums over the examples, in its curvature"
        )
    if graph.statistics:
        lines.append(
            f"batch_statistics='hold': {len(graph.statistics)} statistics of the batch are "
            "constant in the curvature; the gradient differentiates through them"
        )
    if graph.penalty is not None:
        lines.append(
            "penalty: terms in parameters alone count in loss and gradient; quadratic ones damp"
        )
    lines += [f"compiled and run first in {s:.1f} s, for {shapes}" for shapes, s in first_updates]
    return lines


def chosen_for(graph: LayerGraph, settings: Settings) -> tuple[Settings, str]:
    """Return the settings with the method for a network, and why; empty if the user chose it."""
    if not isinstance(settings.method, Auto):
        return settings, ""
    method, reason = settings.method.choice(graph)
    return replace(settings, method=method), f"; chosen for {reason}"


def is_sum(method: Method, layer: Layer) -> bool:
    """Return whether a method keeps the block of a layer as a sum of two Kronecker products."""
    return isinstance(method, KroneckerMethod) and method.is_sum(layer)


def _diagonals(graph: LayerGraph) -> list[str]:
    """Return a line for each parameter with the diagonal of the curvature."""
    return [
        f"{name_of(each.weight)}: diagonal of the Gauss-Newton matrix, estimated by random signs, "
        f"since {each.reason}"
        for each in graph.diagonal
    ]


def _reused_weights(graph: LayerGraph, summed: Sequence[Layer]) -> list[str]:
    """Return a line for each weight that several affine maps read."""
    lines = []
    for layer in graph.layers:
        name, n = name_of(layer.weight), len(layer.uses)
        if layer.reverse is not None:
            block = "the sum" if layer in summed else "the nearest product to the sum"
            lines.append(
                f"{name}: read as W by {n} affine map(s), as W^T by {len(layer.reverse.uses)}; "
                f"its block is {block} of two Kronecker products"
            )
        elif n > 1:
            lines.append(f"{name}: read by {n} affine maps, positions that share it")
    return lines


def _layer_rows(
    layers: Sequence[Layer],
    summed: Sequence[Layer],
    diagonal: Sequence[DiagonalParameter],
    item_bytes: int,
) -> list[Cells]:
    """Return a row for each layer and each other parameter, and the totals."""
    rows: list[Cells] = []
    total_flops, total_bytes = 0.0, 0.0
    for layer in layers:
        shapes = factor_shapes(layer)
        # two eigendecompositions of 9 n^3 and three products for each basis of a sum
        flops = _work(*shapes, 24.0 if layer in summed else 1 / 3)
        size = item_bytes * sum(map(prod, block_shapes(layer, layer in summed).values()))
        total_flops, total_bytes = total_flops + flops, total_bytes + size
        cells = (*map(_described, shapes), f"{flops / 1e9:.3g}", f"{size / 2**20:.3g}")
        bias = "yes" if layer.bias is not None else "no"
        rows.append((layer.name, name_of(layer.weight), bias, *cells))
    for each in diagonal:
        entries = prod(value_shape(each.weight))
        total_flops, total_bytes = total_flops + entries, total_bytes + item_bytes * entries
        cells = (f"diag {entries}", "-", f"{entries / 1e9:.3g}")
        memory = f"{item_bytes * entries / 2**20:.3g}"
        rows.append((each.name, name_of(each.weight), "no", *cells, memory))
    totals = (f"{total_flops / 1e9:.3g}", f"{total_bytes / 2**20:.3g}")
    return [*rows, ("total", "", "", "", "", *totals)]


def _described(shape: tuple[int, ...]) -> str:
    """Return the shape of a factor as text; a vector is a diagonal."""
    return f"diag {shape[0]}" if len(shape) == 1 else f"{shape[0]}x{shape[1]}"


def _work(Q: tuple[int, ...], G: tuple[int, ...], cube: float) -> float:
    """Return the flops to factor two factors, ``cube`` n^3 for a matrix, and to solve once."""
    size = Q[0] * G[0]
    return sum(
        n[0] + size if len(n) == 1 else cube * n[0] ** 3 + 2.0 * size * n[0] for n in (Q, G)
    )


def schedule_of(settings: Settings) -> str:
    """Return what is computed, and how often."""
    line = preconditioner_of(settings.method).summary(settings)
    if settings.watch is None or not settings.method.factored:
        return line
    return (
        f"{line}; rho where lambda adapts, in each of the first {settings.watch} and of as many "
        "after one that is low, and of a long update"
    )


def aligned(rows: Sequence[Cells]) -> list[str]:
    """Return rows of a table as lines with aligned columns."""
    widths = [max(least, *map(len, column)) for least, *column in zip(WIDTHS, *rows, strict=False)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
