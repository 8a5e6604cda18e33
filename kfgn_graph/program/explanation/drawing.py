"""The drawing of a task's recognised graph."""

from __future__ import annotations

import kfgn_graph as kfgn
from kfgn_graph.errors import SpecError
from kfgn_graph.program.explanation.account import Account
from kfgn_graph.program.explanation.diagram import diagram_of
from kfgn_graph.program.explanation.svg import svg_of
from kfgn_graph.program.outputs import Output
from kfgn_graph.program.task import Task

DRAWING = Output(
    "drawing",
    (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ',
        ' role="img" aria-labelledby="title description">',
    ),
)
"""The kind of file that holds such a drawing."""


def draw(task: Task, graph: kfgn.LayerGraph | None, made: Account, reason: str) -> str:
    """Return the drawing as an SVG document.

    Parameters
    ----------
    task : Task
        The task to train.
    graph : LayerGraph or None
        The layers of its loss.
    made : Account
        The account of its update.
    reason : str
        The reason if there are no layers.

    Raises
    ------
    SpecError
        No layers were recognised.
    """
    if graph is None:
        raise SpecError(f"there is nothing to draw, since no layers were recognised: {reason}")
    loss = made.loss.split(",")[0]
    diagram = diagram_of(graph, made.layers, task.inputs, loss)
    subtitle = f"{made.method}, {len(made.layers)} layers, {made.batch:,} examples per update"
    return svg_of(diagram, task.spec.name, subtitle, made.method)
