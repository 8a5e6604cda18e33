"""Training of a spec from Python, as ``kfgn train`` and ``kfgn resume`` do it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kfgn_graph.program.evaluation import Evaluation
from kfgn_graph.program.runs import RunRecord, read_run
from kfgn_graph.program.spec.models import GraphSpec
from kfgn_graph.program.training import Outcome, go_on, start

OnUpdate = Callable[[int, float, float], None]


class _Caller:
    """A watcher that calls a function after each update, and reports nothing else.

    Parameters
    ----------
    on_update : callable, optional
        The function, called with the update's number, the seconds so far and the batch's loss.
    """

    def __init__(self, on_update: OnUpdate | None) -> None:
        self._on_update = on_update

    def started(self, path: Path, update: int, limit: int | None, seconds: float | None) -> None:
        """Report nothing."""

    def compiling(self, seconds: float | None) -> None:
        """Report nothing."""

    def updated(self, update: int, seconds: float, loss: float, damping: float | None) -> None:
        """Call the function."""
        if self._on_update is not None:
            self._on_update(update, seconds, loss)

    def evaluated(self, update: int, found: Evaluation) -> None:
        """Report nothing."""

    def noted(self, text: str) -> None:
        """Report nothing."""


def train_run(
    spec: GraphSpec,
    runs: str | Path = "runs",
    *,
    folder: str | Path | None = None,
    on_update: OnUpdate | None = None,
) -> RunRecord:
    """Train a spec into a new folder, as ``kfgn train`` does, without its output.

    Parameters
    ----------
    spec : GraphSpec
        The spec.
    runs : path
        Folder in which the run's folder ``<name>-<n>`` is created.
    folder : path, optional
        Base folder of relative data files and of the user's modules; by default the working
        folder.
    on_update : callable, optional
        ``on_update(update, seconds, loss)`` is called after each update with its number, the
        seconds of updates so far and the loss of its batch.

    Returns
    -------
    RunRecord
        The run. It also ends, before its budget is used up, when twenty losses in a row are not
        finite.

    Raises
    ------
    KfgnError
        The spec cannot be built or compiled, or its files cannot be written.
    KeyboardInterrupt
        Ctrl-C or SIGTERM ended training. A checkpoint is written first, from which
        :func:`resume_run` continues.

    Examples
    --------
    >>> spec = kfgn_graph.GraphSpec.model_validate(
    ...     {
    ...         "name": "digits",
    ...         "loss": "softmax",
    ...         "network": {"hidden": [50]},
    ...         "data": {"name": "digits"},
    ...         "batch": 250,
    ...         "budget": {"updates": 100},
    ...     }
    ... )  # doctest: +SKIP
    >>> kfgn_graph.train_run(spec).evaluations[-1]["accuracy"]  # doctest: +SKIP
    1.0
    """
    base = Path.cwd() if folder is None else Path(folder)
    return _record(start(spec, base, Path(runs), _Caller(on_update)))


def resume_run(
    path: str | Path, *, trust: bool = False, on_update: OnUpdate | None = None
) -> RunRecord:
    """Continue a run from its newest checkpoint, as ``kfgn resume`` does, without its output.

    A run whose budget is used up is returned as it is.

    Parameters
    ----------
    path : path
        The run's folder.
    trust : bool
        Whether the function that the run's spec names, if it names one, may be called. Calling it
        executes its module.
    on_update : callable, optional
        As of :func:`train_run`.

    Returns
    -------
    RunRecord
        The run.

    Raises
    ------
    CheckpointError
        The folder is no run, another process trains it, its data have changed, one of its files
        is damaged, or the spec names a function and ``trust`` is false.
    KeyboardInterrupt
        As of :func:`train_run`.
    """
    return _record(go_on(Path(path), _Caller(on_update), trust=trust))


def _record(outcome: Outcome) -> RunRecord:
    """Return the run of an outcome, or raise what interrupted it."""
    if outcome.reason == "interrupted":
        raise KeyboardInterrupt
    return read_run(outcome.path)
