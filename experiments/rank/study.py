"""Ranks against their bounds, the mixture's H_L, and the spectra of the layer blocks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import kfgn_graph as kfgn
from experiments.rank.losses import LOSSES
from experiments.rank.networks import (
    LayerBlocks,
    Problem,
    SampledGaussNewton,
    build_problem,
    dense_gauss_newton,
    train,
)
from experiments.small_networks import compile_in_python, numerical_rank

Array = np.ndarray
Record = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """Sizes of the study.

    Attributes
    ----------
    hidden : tuple of int
        Widths of the hidden layers.
    counts : tuple of int
        Numbers of examples whose curvature is formed: minibatches, or data sets.
    seeds : tuple of int
        Of weights, examples and drawn targets.
    singles : int
        Examples of the mixture that are looked at one by one.
    updates : int
        Of KFLR, before the spectra of a trained network.
    trained_on : int
        Examples that it is trained on.
    """

    hidden: tuple[int, ...] = (8, 6)
    counts: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    seeds: tuple[int, ...] = (0, 1, 2)
    singles: int = 200
    updates: int = 50
    trained_on: int = 500


def data(name: str, seed: int) -> tuple[Array, Array]:
    """Return the digits of scikit-learn, shuffled, and targets for the loss of that name."""
    found, loss = kfgn.load_data("digits"), LOSSES[name]
    order = np.random.default_rng(seed).permutation(len(found.inputs))
    labels = np.asarray(found.targets)[order]
    return found.inputs[order].astype(float), loss.targets(labels, loss.outputs)


def rank_of(matrix: Array) -> tuple[int, float]:
    """Return the rank of a matrix of side d to the precision of float64, d eps, and its gap."""
    rank, gap = numerical_rank(matrix, len(matrix) * np.finfo(float).eps)
    return int(rank), gap


def problem_of(name: str, setup: Setup, seed: int) -> Problem:
    """Build the network of the study, for 8 by 8 images."""
    return build_problem(name, 64, setup.hidden, seed)


def count_ranks(name: str, setup: Setup, seed: int) -> list[Record]:
    """Take the ranks of all matrices of a network at its initial parameters."""
    problem, (x, y) = problem_of(name, setup, seed), data(name, seed)
    exact, sampled = dense_gauss_newton(problem), SampledGaussNewton(name, problem)
    blocks, rng = LayerBlocks(problem), np.random.default_rng(seed)
    records = []
    for count in setup.counts:
        dense = exact(x[:count], y[:count])
        drawn, drawn_gap = rank_of(sampled(x[:count], rng))
        rank, gap = rank_of(dense)
        exact_blocks, factors = blocks(x[:count], y[:count])
        records.append(
            {
                "loss": name,
                "seed": seed,
                "examples": count,
                "parameters": len(dense),
                "rank": rank,
                "bound": min(len(dense), LOSSES[name].rank * count),
                "gap": gap,
                "sampled_rank": drawn,
                "sampled_bound": min(len(dense), count),
                "sampled_gap": drawn_gap,
                "layer_ranks": [rank_of(block)[0] for block in exact_blocks],
                "layer_sides": [len(block) for block in exact_blocks],
                "factored_ranks": {m: kronecker_ranks(parts) for m, parts in factors.items()},
            }
        )
    return records


def kronecker_ranks(factors: list[Array]) -> list[int]:
    """Return the rank of each Q (x) G, the product of the ranks of its factors."""
    ranks = [rank_of(factor)[0] for factor in factors]
    return [q * g for q, g in zip(ranks[0::2], ranks[1::2], strict=True)]


def mixture_hessians(setup: Setup, seed: int) -> Record:
    """Look at H_L of Eq. (27) in the three logits, for one example at a time.

    Split at q, the Gauss-Newton matrix in the logits is (d^2 E / d q^2) grad q grad q^T: its rank
    is 1. The Hessian of the same loss in the logits has the second derivatives of q as well.
    """
    problem, (x, y) = problem_of("mixture", setup, seed), data("mixture", seed)
    at_q = problem.layer_graph()
    at_logits = kfgn.trace_layers(problem.value, problem.parameters, output=problem.logits)
    methods = ((at_q, kfgn.BlockGaussNewton()), (at_logits, kfgn.BlockHessian()))
    wanted = []
    for graph, method in methods:
        blocks = kfgn.curvature_factors(graph, method)
        wanted.append(blocks[graph.layers[-1]].curvature[:, 0, :, 0, :])
    found = compile_in_python([problem.x, problem.y], wanted)
    gauss_newton, hessian = found(x[: setup.singles], y[: setup.singles])
    eigenvalues = np.linalg.eigvalsh(hessian)
    tolerance = 3 * np.finfo(float).eps
    below = eigenvalues[:, 0] < -1e-10 * np.abs(eigenvalues).max(axis=1)
    return {
        "examples": setup.singles,
        "gauss_newton": _histogram(numerical_rank(gauss_newton, tolerance)[0]),
        "hessian": _histogram(numerical_rank(hessian, tolerance)[0]),
        "indefinite": int(below.sum()),
    }


def _histogram(ranks: Array) -> dict[str, int]:
    return {str(rank): int((ranks == rank).sum()) for rank in np.unique(ranks)}


def spectra(
    name: str, setup: Setup, counts: tuple[int, ...], on_state: Callable[[str], None]
) -> list[Record]:
    """Return the eigenvalues of each layer block, before and after training."""
    seed = setup.seeds[0]
    problem, (x, y) = problem_of(name, setup, seed), data(name, seed)
    blocks, records = LayerBlocks(problem), []
    for state in ("initial", "trained"):
        if state == "trained":
            train(problem, x[: setup.trained_on], y[: setup.trained_on], setup.updates)
        for count in counts:
            for layer, block in enumerate(blocks(x[:count], y[:count])[0], 1):
                values = np.linalg.eigvalsh(block)[::-1]
                kept = values[: LOSSES[name].rank * count + 5]
                records.append(
                    {
                        "loss": name,
                        "state": state,
                        "examples": count,
                        "layer": layer,
                        "side": len(block),
                        "bound": min(len(block), LOSSES[name].rank * count),
                        "eigenvalues": [float(value) for value in kept],
                    }
                )
        on_state(state)
    return records
