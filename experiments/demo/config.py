"""What the demo can be told."""

from dataclasses import dataclass, field
from pathlib import Path

from experiments.backends import Backend
from experiments.networks import PAPER_HIDDEN
from experiments.optimisers import FirstOrder, GaussNewton

DATASETS = ("auto", "mnist", "curves", "digits")
OUTPUT = Path(__file__).resolve().parents[1] / "output" / "demo"


@dataclass(frozen=True)
class DemoConfig:
    """Settings of one run; the defaults are those of ``make demo``.

    Attributes
    ----------
    seconds : float
        Training seconds of each method, compiling and evaluating not counted.
    updates : int or None
        At most so many updates of each method.
    dataset : {"auto", "mnist", "curves", "digits"}
        ``"auto"`` is MNIST when it is at hand or can be fetched, else CURVES.
    backend : {"auto", "jax", "numba", "c"}
        For both methods.
    batch : int
        Examples a batch.
    hidden : tuple of int
        Widths of the hidden layers.
    kfra : GaussNewton
        KFRA, by default with the package's defaults.
    adam : FirstOrder
        Adam's constant rate.
    output : Path
        Folder of the pictures and of ``results.json``.
    seed : int
        Of weights and batches, the same for both methods.
    """

    seconds: float = 50.0
    updates: int | None = None
    dataset: str = "auto"
    backend: Backend = "auto"
    batch: int = 1000
    hidden: tuple[int, ...] = PAPER_HIDDEN
    kfra: GaussNewton = field(default_factory=GaussNewton)
    adam: FirstOrder = field(default_factory=FirstOrder)
    output: Path = OUTPUT
    seed: int = 0
