"""The task of a training run: what is trained, on which data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pytensor.compile.sharedvalue import SharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.program.scaling import Scaling
from kfgn_graph.program.spec.models import GraphSpec


@dataclass(frozen=True)
class Task:
    """The loss, the parameters and the data of a training run.

    Attributes
    ----------
    spec : GraphSpec
        The spec from which the task was built.
    loss : scalar variable
        The loss of a batch. For networks that the program builds it is the mean over the batch.
    parameters : tuple of shared variables
        The parameters, which training updates in place.
    inputs : tuple of variables
        The variables of a batch.
    prediction : variable, (N, K), or None
        The reconstruction, probabilities or output of a network that the program builds; None for
        a user's graph.
    arrays : tuple of ndarray
        The training data in the order of ``inputs``, with one example per row.
    floor : float
        Lower bound of the loss: the entropy of the targets for the Bernoulli loss, otherwise 0.
    source : str
        Origin of the data.
    scalings : tuple of Scaling or None
        Mean and deviation with which each of ``arrays`` was standardised; None for an array that
        was not.
    note : str or None
        Something about the data that the user should know.
    output : variable or None
        The variable at which the loss is split from the network, where a user's function returns
        it; None if it is found.
    """

    spec: GraphSpec
    loss: TensorVariable
    parameters: tuple[SharedVariable, ...]
    inputs: tuple[TensorVariable, ...]
    prediction: TensorVariable | None
    arrays: tuple[np.ndarray, ...]
    floor: float
    source: str
    scalings: tuple[Scaling | None, ...] = ()
    note: str | None = None
    output: TensorVariable | None = None
