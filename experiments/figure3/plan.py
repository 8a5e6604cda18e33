"""The runs of Figure 3: settings, dtypes, and their numbers of updates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from experiments.curves import RunCurve
from experiments.optimisers import FirstOrder, GaussNewton, Optimiser, Recipe
from experiments.stages import Plan
from experiments.studies import Task, task
from experiments.study_pictures import Line

METHODS: tuple[Literal["kflr", "kfra", "kfac"], ...] = ("kflr", "kfra", "kfac")
COLOURS = {"kflr": "#3a7d44", "kfra": "#0b6fa4", "kfac": "#8a4f9e"}
DTYPES = ("float32", "float64")
DECAY = 0.9
"""The paper has the moving average of the curvature in all runs of this figure."""
SECOND_ORDER, FIRST_ORDER, BUDGET = 5_000, 40_000, 0.1
DATA = {"name": "mnist", "examples": 50_000}


@dataclass(frozen=True, kw_only=True)
class Figure3Plan(Plan):
    """The runs in one dtype.

    Attributes
    ----------
    dtype : {"float32", "float64"}
        Data type of parameters and images.
    graph : str
        Module and prefix of the function that builds the network; the dtype follows.
    data : dict
        The table ``data`` of the specs.
    batch : int
        Number of examples in each update.
    backend : str
        Of all runs.
    """

    dtype: str
    graph: str = "experiments.figure3.network:mixture"
    data: dict[str, Any] = field(default_factory=lambda: dict(DATA))
    batch: int = 1000
    backend: str = "auto"

    @property
    def first_updates(self) -> int:
        return max(1, round(self.budget * FIRST_ORDER))

    def settings(self, recipe: Recipe) -> Iterator[tuple[str, Optimiser]]:
        for method in METHODS:
            setting = GaussNewton(method, curvature_decay=DECAY, recipe=recipe)
            yield f"{method}-{recipe}", setting

    def run(self, setting: str, method: Optimiser, seed: int) -> Task:
        first = isinstance(method, FirstOrder)
        updates = self.first_updates if first else max(1, round(self.budget * SECOND_ORDER))
        tables = {
            "graph": f"{self.graph}_{self.dtype}",
            "data": self.data,
            "batch": self.batch,
            "backend": self.backend,
        }
        return task(f"mixture-{self.dtype}", setting, method, seed, updates, tables)


def lines(curves: Sequence[RunCurve], recipe: str) -> list[Line]:
    """Return the lines of KFLR, KFRA and KFAC in a recipe in one dtype."""
    named = {method: f"{method}-{recipe}" for method in METHODS}
    found = {
        method: tuple(curve for curve in curves if curve.setting == name)
        for method, name in named.items()
    }
    return [Line(m.upper(), runs, COLOURS[m]) for m, runs in found.items() if runs]
