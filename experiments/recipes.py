"""The paper's recipe: lambda, gamma and step length as Martens and Grosse have them."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

import kfgn_graph as kfgn

PAPER_L2 = 1e-5
"""eta of Martens and Grosse, which the paper follows, for MNIST and CURVES."""
PAPER_DAMPING: Mapping[str, Any] = {
    "initial": 150.0,
    "every": 5,
    "minimum_ratio": 0.0,
    "minimum": 1e-8,
    "gamma": "search",
    "gamma_every": 20,
    "gamma_minimum": sqrt(PAPER_L2),
    "gamma_maximum": 1.0,
}
"""lambda and gamma of Martens and Grosse. The lower bound of lambda, which float32 needs, is that
of later implementations; the bounds of gamma are those of their code. Without an upper bound the
search raises gamma while the loss is on its first plateau, and the updates become gradient
descent."""
PAPER_STEP: Mapping[str, Any] = {
    "momentum": False,
    "groups": 1,
    "examples": None,
    "reject_below": None,
}
"""One step length for all layers, from the whole batch; every update is accepted."""
PAPER_SCHEDULE: Mapping[str, Any] = {"factors_every": 1, "refresh_every": 1}
"""Factors and inverses of every batch."""


def paper_arguments(momentum: bool = False) -> dict[str, Any]:
    """Return the recipe as arguments of :func:`kfgn_graph.compile_update`.

    Parameters
    ----------
    momentum : bool
        Whether an update has momentum from the quadratic model, which the paper left out.
    """
    return {
        "damping": kfgn.LevenbergMarquardt(**PAPER_DAMPING),
        "step": kfgn.Rescaling(**{**PAPER_STEP, "momentum": momentum}),
        "l2": PAPER_L2,
        **PAPER_SCHEDULE,
    }


def paper_tables(momentum: bool = False) -> dict[str, Any]:
    """Return the recipe as tables of a spec, as ``kfgn train`` reads them.

    Parameters
    ----------
    momentum : bool
        As of :func:`paper_arguments`.
    """
    step = {"momentum": momentum, "groups": PAPER_STEP["groups"]}
    return {
        "damping": dict(PAPER_DAMPING),
        "step": {**step, "examples": 0, "reject": False},
        "schedule": dict(PAPER_SCHEDULE),
        "l2": PAPER_L2,
    }
