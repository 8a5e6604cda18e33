"""Lazy choice: only the branch that is chosen is computed."""

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
    """Return ``then`` where the condition holds, else ``otherwise``, computing one of them.

    Work that both need, or that is also needed elsewhere, is computed in any case.

    Parameters
    ----------
    condition : scalar TensorVariable
    then, otherwise : sequences of TensorVariable
        Pairs of one type. A constant is chosen apart, since JAX gives a constant that a
        branch returns a dtype of its own.
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
