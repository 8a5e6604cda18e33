"""One compiled function that trains: :func:`compile_update`."""

from __future__ import annotations

from collections.abc import Sequence

from pytensor.graph.basic import Variable
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.backends import resolve_backend
from kfgn_graph.curvature.methods.base import KroneckerMethod
from kfgn_graph.curvature.methods.kfra import KFRA
from kfgn_graph.solve.base import Inverse
from kfgn_graph.step.damping import Damping, LevenbergMarquardt
from kfgn_graph.step.hessian_free import HessianFree
from kfgn_graph.step.settings import Settings
from kfgn_graph.step.step_rules import Rescaling
from kfgn_graph.update.update import Update, building


def compile_update(
    loss: TensorVariable,
    params: Sequence[TensorSharedVariable],
    inputs: Sequence[Variable],
    *,
    method: KroneckerMethod | HessianFree = KFRA(),
    damping: Damping = LevenbergMarquardt(),
    step: float | Rescaling = Rescaling(),
    output: TensorVariable | None = None,
    l2: float = 0.0,
    curvature_decay: float = 0.8,
    factors_every: int = 5,
    refresh_every: int = 10,
    inverse: str | Inverse = "cholesky",
    average_iterates: bool = False,
    backend: str = "auto",
    seed: int = 0,
    devices: int | None = None,
    unmatched: str = "error",
) -> Update:
    """Compile one function that trains a loss by a practical Gauss-Newton method.

    Parameters
    ----------
    loss : scalar TensorVariable
        Sum or mean over a batch of terms that each read one example, plus penalties on
        parameters alone.
    params : sequence of shared variables
        The parameters to train. Their values are updated in place.
    inputs : sequence of variables
        What a batch consists of, examples along the leading axis.
    method : KFRA, KFLR, KFAC or HessianFree
        The curvature.
    damping : LevenbergMarquardt or ConstantDamping
        What is added to the curvature before it is inverted, and how it adapts.
    step : Rescaling or float
        How far to go along the preconditioned gradient: as the exact quadratic model says,
        or always the same.
    output : TensorVariable, optional
        Where the loss is split from the network; found by itself where it can be.
    l2 : float
        eta of an added (eta / 2) ||theta||^2, biases included: in gradient and curvature.
    curvature_decay : float
        Weight of the old factors in their moving average; 0 keeps none.
    factors_every : int
        How many updates apart the factors are estimated anew; the first fifty updates always
        do.
    refresh_every : int
        How many updates apart the factors' inverses are computed anew; the first fifty updates
        always do.
    inverse : {'cholesky', 'newton-schulz', 'eigh', 'exact', 'ekfac'} or strategy
        How the damped blocks are inverted: through Cholesky factors, by products alone, in
        the factors' eigenbasis, there with exact instead of factored damping, or there with
        the block's own eigenvalues (EKFAC; for KFLR and KFAC).
    average_iterates : bool
        Keep an average of the parameters over the updates, for :meth:`Update.averaged`.
    backend : {'auto', 'jax', 'numba', 'c'}
        What to compile with; ``auto`` takes JAX where it is installed, else Numba.
    seed : int
        Of KFAC's draws.
    devices : int, optional
        With JAX: over how many devices each batch is divided. By default one, undivided.
    unmatched : {'error', 'gradient', 'freeze'}
        See :func:`trace_layers`.

    Returns
    -------
    Update
        A callable: ``stats = update(x_batch, y_batch)``.

    Raises
    ------
    KfgnError
        ParameterError, UnmatchedParameterError, NotABatchLossError, CurvatureRuleNotFound
        for what cannot be read; BatchError for incomplete inputs; SpecError for a setting
        that is not allowed; BackendError for a backend that cannot be used.
    """
    settings = Settings(
        method,
        damping,
        step,
        l2,
        curvature_decay,
        factors_every,
        refresh_every,
        inverse,
        average_iterates,
        seed,
    )
    chosen = resolve_backend(backend, devices)
    with building():
        return Update(loss, params, inputs, output, unmatched, settings, chosen)
