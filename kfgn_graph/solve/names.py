"""The names of the inverse strategies."""

from __future__ import annotations

from kfgn_graph.errors import SpecError
from kfgn_graph.solve.base import Inverse
from kfgn_graph.solve.cholesky import Cholesky
from kfgn_graph.solve.eigenbasis import Eigenbasis
from kfgn_graph.solve.newton_schulz import NewtonSchulz

STRATEGIES: dict[str, Inverse] = {
    "cholesky": Cholesky(),
    "newton-schulz": NewtonSchulz(),
    "eigh": Eigenbasis(),
    "exact": Eigenbasis(exact=True),
    "ekfac": Eigenbasis(corrected=True),
}


def strategy_of(inverse: str | Inverse) -> Inverse:
    """Return the strategy of a name; return a strategy unchanged.

    Raises
    ------
    SpecError
        If there is no strategy of this name.
    """
    if isinstance(inverse, Inverse):
        return inverse
    if inverse not in STRATEGIES:
        raise SpecError(f"inverse={inverse!r} is not one of {tuple(STRATEGIES)}.")
    return STRATEGIES[inverse]
