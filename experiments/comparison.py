"""Train one network with several methods, each from the same weights on the same batches."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from rich.console import Console

import kfgn_graph as kfgn
from experiments.backends import Backend, resolve_backend
from experiments.optimisers import Optimiser
from experiments.peers.alternation import calm_lapack
from experiments.progress import progress_display
from experiments.runs import Budget, Run
from experiments.training import (
    compile_evaluation,
    parameter_values,
    set_parameter_values,
    shuffled_batches,
    train,
)


def compare(
    methods: Sequence[Optimiser],
    network: kfgn.Network,
    arrays: Sequence[np.ndarray],
    budget: Budget,
    console: Console,
    batch: int = 1000,
    backend: Backend = "auto",
    seed: int = 0,
    parts: int = 6,
    at: Collection[int] | None = None,
) -> Iterator[Run]:
    """Yield each method's run when it is done; the network then has its weights.

    Parameters
    ----------
    methods : sequence of Optimiser
        In the order of training.
    network : Network
        It starts every run from the weights it has now.
    arrays : sequence of ndarray
        The training set, in the order of ``network.inputs``.
    budget : Budget
        Of each method.
    console : rich.console.Console
        Shows the progress.
    batch : int
        Examples a batch.
    backend : str
        For all methods and the evaluations.
    seed : int
        Of the batches.
    parts : int
        Evaluations a run, besides the first.
    at : collection of int, optional
        Evaluate after so many updates instead, and at the end.
    """
    initial = parameter_values(network)
    evaluate = compile_evaluation(network, arrays, batch, backend)
    for method in methods:
        set_parameter_values(network, initial)
        batches = shuffled_batches(arrays, batch, seed)
        with (
            calm_lapack(resolve_backend(backend) == "jax"),
            progress_display(f"{method.name} {method.settings}", console) as on_update,
        ):
            run = train(
                method, network, batches, evaluate, budget, backend, seed, parts, at, on_update
            )
        yield run
