"""Train the autoencoder with kfac-jax, from given weights on the batches of the other methods."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from experiments.environments import KFAC_JAX, run_script
from experiments.networks import Activation
from experiments.runs import Evaluation, Run


@dataclass(frozen=True)
class KfacJax:
    """kfac-jax 0.0.8 with the settings of its own autoencoder example, but for what is here.

    Learning rate, momentum and damping adapt (damping every 5 updates by 0.95, within 1e-5 and
    1000), the factors' average decays by 0.95, 5 batches burn in, LU inverses, no weight decay.

    Attributes
    ----------
    initial_damping : float
        lambda of the first updates.
    refresh_every : int
        Updates between two inversions.
    """

    initial_damping: float = 150.0
    refresh_every: int = 5

    @property
    def name(self) -> str:
        """The library's name."""
        return "kfac-jax"

    @property
    def settings(self) -> str:
        """What its example leaves open, and its first damping."""
        return f"λ from {self.initial_damping:g}, inverses every {self.refresh_every}"

    def train(
        self,
        initial: Sequence[np.ndarray],
        inputs: np.ndarray,
        activation: Activation,
        updates: int,
        at: Sequence[int],
        batch: int = 1000,
        seed: int = 0,
        python: str | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> tuple[Run, dict[str, str]]:
        """Train in kfac-jax's environment, which is made if it is not there.

        Parameters
        ----------
        initial : sequence of ndarray
            Weight, bias, weight, bias ... in forward order.
        inputs : ndarray, shape (N, D)
            The training set, pixels in [0, 1].
        activation : {"tanh", "relu", "sigmoid"}
            Of the hidden layers.
        updates : int
            How many.
        at : sequence of int
            Evaluate after so many updates, and at the end.
        batch, seed : int
            As of :func:`experiments.training.shuffled_batches`: the batches are the same.
        python : str, optional
            The interpreter that makes the environment.
        on_line : callable, optional
            Called with every line of progress.

        Returns
        -------
        run : Run
            Its ``compile_seconds`` are those of a few updates whose outcome is thrown away.
        versions : dict
            Of what computed.

        Raises
        ------
        RuntimeError
            The environment cannot be made, or the run failed.
        """
        settings = {
            **asdict(self),
            "activation": activation,
            "layers": len(initial) // 2,
            "updates": updates,
            "at": list(at),
            "batch": batch,
            "seed": seed,
        }
        interpreter = KFAC_JAX.ensure(python)
        with tempfile.TemporaryDirectory() as folder:
            task, answer = Path(folder) / "task.npz", Path(folder) / "answer.json"
            write_task(task, initial, inputs, settings)
            script = Path(__file__).with_name("kfac_jax_side.py")
            calm = {"OPENBLAS_NUM_THREADS": "1"}  # as calm_lapack does for our own
            run_script(interpreter, script, [str(task), str(answer)], self.name, calm, on_line)
            found = json.loads(answer.read_text(encoding="utf-8"))
        return self._run(found), found["versions"]

    def _run(self, found: dict[str, list[dict[str, float]]]) -> Run:
        evaluations = [Evaluation(**part) for part in found["evaluations"]]  # type: ignore[arg-type]
        return Run(
            self.name,
            self.settings,
            found["compile_seconds"],  # type: ignore[arg-type]
            found["seconds"],  # type: ignore[arg-type]
            found["losses"],  # type: ignore[arg-type]
            evaluations,
        )


def write_task(
    path: Path,
    initial: Sequence[np.ndarray],
    inputs: np.ndarray,
    settings: dict[str, object],
    targets: np.ndarray | None = None,
) -> None:
    """Write what the other side reads: arrays, and the settings as JSON."""
    arrays = {"x": inputs} if targets is None else {"x": inputs, "y": targets}
    for index, (weight, bias) in enumerate(list(pairwise(initial))[::2]):
        arrays[f"W{index}"], arrays[f"b{index}"] = weight, bias
    np.savez(path, settings=np.array(json.dumps(settings)), **arrays)  # type: ignore[arg-type]
