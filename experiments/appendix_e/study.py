"""The cases of the study: each statement, and its counter-examples."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from experiments.appendix_e.ascent import Climb, climb
from experiments.appendix_e.ranks import count_ranks
from experiments.appendix_e.semidefinite import count_signs
from experiments.small_networks import CONVEX, PIECEWISE_LINEAR

Record = dict[str, Any]
HOLDS, SMOOTH, NOT_CONVEX = "piecewise linear, convex", "tanh, convex", "not convex"
WIDE, TINY = (2, 3, 3, 2), (1, 1, 1)


@dataclass(frozen=True)
class Size:
    """How much of the study is done.

    Attributes
    ----------
    depths : tuple of int
        Numbers of affine layers, for the signs.
    points : int
        Random networks for each activation, loss and depth.
    starts : int
        Ascents of each kind.
    networks : int
        Random networks for each kind of rank; each has 10 examples.
    seed : int
        Of all of it.
    """

    depths: tuple[int, ...] = (2, 3, 4)
    points: int = 50
    starts: int = 100
    networks: int = 50
    seed: int = 0


def group_of(activation: str, loss: str) -> str:
    """Name the assumptions that an activation and a loss meet."""
    if loss not in CONVEX:
        return NOT_CONVEX
    return HOLDS if activation in PIECEWISE_LINEAR else SMOOTH


def sign_cases(size: Size) -> list[tuple[str, str, int]]:
    """Return activation, loss and depth of every case of statement (i)."""
    meant = [(a, e, d) for a in PIECEWISE_LINEAR for e in CONVEX for d in size.depths]
    middle = size.depths[len(size.depths) // 2]
    smooth = [("tanh", loss, middle) for loss in CONVEX]
    others = [(a, e, middle) for a in ("relu", "leaky") for e in ("cauchy", "double-well")]
    return meant + smooth + others


def climb_cases() -> list[Climb]:
    """Return the ascents of statement (ii)."""
    meant = [
        Climb(activation, loss, layer, sizes=WIDE)
        for activation in PIECEWISE_LINEAR
        for loss in CONVEX
        for layer in (None, 1)
    ]
    tiny = [
        Climb(activation, loss, 0, sizes=TINY, examples=8, spread=1.0)
        for activation in (*PIECEWISE_LINEAR, "tanh")
        for loss in ("squared", "bernoulli")
    ]
    everything = [Climb("tanh", loss, None, sizes=WIDE) for loss in CONVEX]
    planted = [
        Climb(activation, "double-well", layer, planted=True, sizes=WIDE, examples=60)
        for activation in ("relu", "leaky")
        for layer in (None, 1)
    ]
    return meant + tiny + everything + planted


#: Name, activation, loss and widths of the cases of statement (iii).
RANK_CASES = (
    ("ReLU", "relu", "squared", (10,) * 6),
    ("hard tanh", "hard-tanh", "squared", (10,) * 6),
    ("max(0.1x, x)", "leaky", "squared", (10,) * 6),
    ("|x|", "abs", "squared", (10,) * 6),
    ("ReLU, loss not convex", "relu", "cauchy", (10,) * 6),
    ("max(0.1x, x), softmax", "leaky", "softmax", (10,) * 6),
    ("ReLU, one output", "relu", "squared", (*(10,) * 5, 1)),
    ("max(0.1x, x), bottleneck of 4", "leaky", "squared", (10, 10, 10, 4, 10, 10)),
    ("tanh, one output", "tanh", "squared", (*(10,) * 5, 1)),
)


def signs(size: Size) -> Iterator[Record]:
    """Count the signs of every case of statement (i)."""
    for activation, loss, layers in sign_cases(size):
        found = count_signs(activation, loss, layers, size.points, size.seed)
        yield {"group": group_of(activation, loss), **asdict(found)}


def climbs(size: Size) -> Iterator[Record]:
    """Classify the ends of the ascents of every case of statement (ii)."""
    for kind in climb_cases():
        ends = climb(kind, size.starts, size.seed)
        yield {
            "group": group_of(kind.activation, kind.loss),
            **asdict(kind),
            "starts": size.starts,
            "ends": {str(end): count for end, count in sorted(ends.items())},
        }


def ranks(size: Size) -> Iterator[Record]:
    """Take the ranks of every case of statement (iii)."""
    for name, activation, loss, sizes in RANK_CASES:
        found = count_ranks(name, activation, loss, sizes, size.networks, size.seed)
        record = asdict(found)
        del record["ranks"]
        yield {**record, "examples": len(found.ranks), "mean": found.mean}
