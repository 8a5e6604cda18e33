"""The systems of the benchmark, and what of them can be measured."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import kfgn_graph as kfgn
from experiments.benchmarks.flops import FIRST_ORDER
from experiments.environments import KFAC_JAX, PYTORCH, Environment

_DEFAULTS = inspect.signature(kfgn.compile_update).parameters
FACTORS_EVERY: int = _DEFAULTS["factors_every"].default
REFRESH_EVERY: int = _DEFAULTS["refresh_every"].default
FIRST = 50
"""So many updates of ours do everything, whatever the periods."""
PEER_FIRST = 7
"""Updates of a peer before any is timed: some parts are compiled only when they are first due."""

OURS = "kfgn_graph"


@dataclass(frozen=True)
class System:
    """A library as it is measured.

    Attributes
    ----------
    script : Path
        The program that measures it.
    environment : Environment or None
        Where that runs; None is this very environment.
    backends, methods : tuple of str
        What it offers.
    refreshes : tuple of int
        Updates between two inversions that are measured.
    adaptive : tuple of bool
        Whether step length and damping adapt.
    examples : int or None
        Of the batch, that its quadratic model reads at most; None is all.
    groups : int
        Of layers with a step length of their own.
    adapt_every : int
        Updates from one new damping to the next, and from one tested step to the next.
    substitute : str
        What takes the place of a Bernoulli loss, where it has none.
    """

    script: Path
    environment: Environment | None
    backends: tuple[str, ...]
    methods: tuple[str, ...]
    refreshes: tuple[int, ...] = (1,)
    adaptive: tuple[bool, ...] = (False,)
    examples: int | None = None
    groups: int = 1
    adapt_every: int = 1
    substitute: str = ""


_HERE = Path(__file__).parent
_PEERS = _HERE.parent / "peers"
_BACKENDS = ("jax", "numba", "c")
SYSTEMS: Mapping[str, System] = {
    OURS: System(
        _HERE / "worker.py",
        None,
        _BACKENDS,
        ("kfra", "kflr", "kfac"),
        (1, 5, REFRESH_EVERY, 20),
        (True, False),
        examples=kfgn.Rescaling().examples,
        groups=kfgn.Rescaling().groups,
        adapt_every=kfgn.LevenbergMarquardt().every,
    ),
    "pytensor-ml": System(_HERE / "worker.py", None, _BACKENDS, (FIRST_ORDER,)),
    "kfac-jax": System(
        _PEERS / "kfac_jax_step.py", KFAC_JAX, ("jax",), ("kfac",), (1, 5), (True,), adapt_every=5
    ),
    "optax": System(_PEERS / "optax_step.py", KFAC_JAX, ("jax",), (FIRST_ORDER,)),
    "backpack": System(
        _PEERS / "backpack_step.py",
        PYTORCH,
        ("torch",),
        ("kfra", "kfac"),
        (1, 5),
        substitute="mean squared error on the same matrices",
    ),
    "curvlinops": System(_PEERS / "curvlinops_step.py", PYTORCH, ("torch",), ("kfac",), (1, 5)),
    "pytorch": System(_PEERS / "torch_adam_step.py", PYTORCH, ("torch",), (FIRST_ORDER,)),
}
"""By name."""
