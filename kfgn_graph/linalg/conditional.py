"""Lazy choice: only the chosen branch is computed."""

from __future__ import annotations

from collections.abc import Sequence

import pytensor.tensor as pt
from pytensor.conditional.op import ifelse
from pytensor.graph.basic import Constant
from pytensor.tensor import TensorLike
from pytensor.tensor.variable import TensorVariable


def choose(
    condition: TensorVariable, then: Sequence[TensorLike], otherwise: Sequence[TensorLike]
) -> list[TensorVariable]:
    """Return ``then`` if the condition holds, else ``otherwise``; compute only one of them.

    Nodes that both branches share, or that have clients outside the branches, are computed
    in either case.

    Parameters
    ----------
    condition : scalar TensorVariable
        The condition, boolean.
    then, otherwise : sequences of TensorVariable
        The branches, whose entries agree in type pair by pair. A pair with a constant is chosen
        by ``switch`` instead, since JAX may change the dtype of a constant that a branch returns.
    """
    pairs = [(pt.as_tensor(a), pt.as_tensor(b)) for a, b in zip(then, otherwise, strict=True)]
    lazy = [i for i, pair in enumerate(pairs) if not any(isinstance(v, Constant) for v in pair)]
    chosen = [pt.switch(condition, a, b) if i not in lazy else a for i, (a, b) in enumerate(pairs)]
    if lazy:
        results = ifelse(condition, [pairs[i][0] for i in lazy], [pairs[i][1] for i in lazy])
        results = results if isinstance(results, list) else [results]
        for i, result in zip(lazy, results, strict=True):
            chosen[i] = result
    return chosen
