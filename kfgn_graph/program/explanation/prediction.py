"""The prediction of ``kfgn explain`` from Python, without its output."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfgn_graph.program.building import build, compile_step
from kfgn_graph.program.explanation.account import account, rates_of, recognised
from kfgn_graph.program.explanation.rates import Clock, Rates
from kfgn_graph.program.spec.models import GraphSpec


def predict_update(
    spec: GraphSpec,
    folder: str | Path | None = None,
    *,
    rates: Mapping[str, float] | None = None,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Predict the operations, the memory and the time of a spec's update.

    Parameters
    ----------
    spec : GraphSpec
        The spec. Its data are loaded; nothing is trained.
    folder : path, optional
        Base folder of relative data files and of the user's modules; by default the working
        folder.
    rates : mapping, optional
        Operations or bytes per second of ``"product"``, ``"inversion"`` and ``"memory"``, as an
        earlier prediction returned them. They are measured if they are not given.
    clock : callable
        The clock of that measurement, in seconds. ``time.process_time`` leaves out the time in
        which other programs have the processor, and adds up the time of all threads.

    Returns
    -------
    dict
        The document of ``kfgn explain --json``. ``"parts"`` has the floating-point operations of
        each part of an update, or the bytes that it moves, with their seconds at the rates;
        ``"kept_bytes"`` is the size of the state that persists between updates; ``"rates"`` and
        ``"predicted_seconds"`` are of one update, averaged over its schedule.

    Raises
    ------
    KfgnError
        The spec cannot be built, or one of the rates is missing or not positive.

    Examples
    --------
    >>> found = kfgn_graph.predict_update(spec)  # doctest: +SKIP
    >>> found["predicted_seconds"]  # doctest: +SKIP
    0.111
    """
    given = None if rates is None else Rates.of(rates)
    task = build(spec, None if folder is None else Path(folder))
    step = compile_step(task)
    made = account(task, step, recognised(task, step)[0])
    return made.as_dict(given or rates_of(task, step, clock), None)
