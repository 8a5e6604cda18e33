"""Training of a network for a few updates on one batch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.graph.traversal import ancestors

import kfgn_graph as kfgn
from experiments.support.catalogue import Network
from experiments.support.evaluation import evaluated
from experiments.support.messages import first_sentence


@dataclass
class Training:
    """What some updates on one batch did.

    Attributes
    ----------
    method : str
        The method: the default one or, if that refuses the network, KFLR.
    backend : str
        The backend: Numba where the given one does not implement an Op of the network.
    before, after : float
        The loss on the batch, with the same random draws.
    updates, skipped, rejected : int
    warned : bool
        Whether a warning was given.
    finite : bool
        Whether the parameters are finite.
    refusal : str
        Why the default method refused the network.
    """

    method: str
    backend: str
    before: float
    after: float
    updates: int
    skipped: int
    rejected: int
    warned: bool
    finite: bool
    refusal: str = ""

    @property
    def works(self) -> bool:
        """Whether every update was made and the loss is lower."""
        return self.finite and not self.skipped and self.after < self.before


def train(build: Callable[[], Network], backend: str, updates: int) -> Training:
    """Train a network by the default method, or by KFLR if that one refuses it."""
    try:
        return _on_backends(build, backend, updates, "default", {})
    except kfgn.CurvatureRuleNotFound as error:
        found = _on_backends(build, backend, updates, "KFLR", {"method": kfgn.KFLR()})
        found.refusal = first_sentence(str(error))
        return found


def _on_backends(
    build: Callable[[], Network], backend: str, updates: int, method: str, settings: dict[str, Any]
) -> Training:
    """Train on a backend, or on Numba if that one does not implement an Op."""
    try:
        return _trained(build(), backend, updates, method, settings)
    except kfgn.BackendError:
        if backend == "numba":
            raise
        return _trained(build(), "numba", updates, method, settings)


def _trained(
    network: Network, backend: str, updates: int, method: str, settings: dict[str, Any]
) -> Training:
    shared = [v for v in ancestors([network.loss]) if isinstance(v, SharedVariable)]
    states = [(v, v.get_value()) for v in shared if v not in set(network.parameters)]
    before = _loss(network)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", kfgn.StalledTrainingWarning)
        update = kfgn.compile_update(
            network.loss,
            list(network.parameters),
            list(network.inputs),
            backend=backend,
            **network.options,
            **settings,
        )
        stats = [update(*network.batch) for _ in range(updates)]
        skipped = sum(s.skipped for s in stats)
        rejected = sum(s.rejected for s in stats)
    for v, value in states:
        v.set_value(value)
    values = [np.asarray(p.get_value()) for p in network.parameters]
    return Training(
        method=method,
        backend=backend,
        before=before,
        after=_loss(network),
        updates=updates,
        skipped=skipped,
        rejected=rejected,
        warned=any(issubclass(w.category, kfgn.StalledTrainingWarning) for w in caught),
        finite=all(np.isfinite(v).all() for v in values),
    )


def _loss(network: Network) -> float:
    return float(evaluated(network.inputs, network.batch, [network.loss])[0])
