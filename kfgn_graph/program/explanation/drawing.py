"""The drawing of a task's recognised graph."""

from __future__ import annotations

import kfgn_graph as kfgn
from kfgn_graph.errors import SpecError
from kfgn_graph.program.building import Task
from kfgn_graph.program.explanation.account import Account
from kfgn_graph.program.explanation.diagram import diagram_of
from kfgn_graph.program.explanation.svg import svg_of


def draw(task: Task, graph: kfgn.LayerGraph | None, made: Account, reason: str) -> str:
    """Return an SVG document.

    Parameters
    ----------
    task : Task
        What is trained.
    graph : LayerGraph or None
        Its layers.
    made : Account
        Of its update.
    reason : str
        Why there are no layers, where there are none.

    Raises
    ------
    SpecError
        There are no layers to draw.
    """
    if graph is None:
        raise SpecError(f"no layers were recognised, and there is nothing to draw: {reason}")
    loss = made.loss.split(",")[0]
    diagram = diagram_of(graph, made.layers, task.inputs, loss)
    subtitle = f"{made.method}, {len(made.layers)} layers, {made.batch} examples an update"
    return svg_of(diagram, task.spec.name, subtitle, made.method)
