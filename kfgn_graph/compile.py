"""One compiled function that trains: :func:`compile_update`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from pytensor.graph.basic import Variable
from pytensor.tensor.sharedvar import TensorSharedVariable
from pytensor.tensor.variable import TensorVariable

from kfgn_graph.backends import check_dtypes, resolve_backend
from kfgn_graph.heads import Surrogate
from kfgn_graph.step.preconditioners import preconditioner_of
from kfgn_graph.step.settings import SettingNames, settings_from, takes_settings
from kfgn_graph.tracing import Source
from kfgn_graph.update.building import fast_graph_construction
from kfgn_graph.update.flatness import warn_if_flat
from kfgn_graph.update.update import Update


@takes_settings
def compile_update(
    loss: TensorVariable,
    params: Sequence[TensorSharedVariable],
    inputs: Sequence[Variable],
    *,
    output: TensorVariable | None = None,
    unmatched: str = "error",
    surrogate: str | Surrogate | None = None,
    batch_statistics: str = "error",
    backend: str = "auto",
    devices: int | None = None,
    **settings: Unpack[SettingNames],
) -> Update:
    r"""Compile one function that trains a loss by a practical Gauss-Newton method.

    Parameters
    ----------
    loss : scalar TensorVariable
        Sum or mean over a batch of terms that each read one example, plus penalties on
        parameters alone.
    params : sequence of shared variables
        The parameters to train. Their values are updated in place.
    inputs : sequence of variables
        The variables that a batch gives values to, examples along the leading axis; an array that
        the loss reads alike for all examples, such as class weights, has no such axis.
    output : TensorVariable, optional
        The variable at which the loss is split from the network; found automatically where that
        is possible.
    unmatched : {'error', 'gradient', 'freeze'}
        The treatment of a parameter that no layer explains: see :func:`trace_layers`.
    surrogate : {'majoriser', 'absolute'} or Surrogate, optional
        The curvature of a loss that has none, or an indefinite one: see :func:`trace_layers`.
    batch_statistics : {'error', 'hold'}
        The treatment of statistics of the batch, as in batch normalisation: see
        :func:`trace_layers`.
    backend : {'auto', 'jax', 'numba', 'c'}
        The compiler; ``auto`` takes JAX where it is installed, else Numba.
    devices : int, optional
        With JAX, the number of devices that each batch is divided over. By default one.
    **settings

    Returns
    -------
    Update
        A callable: ``stats = update(x_batch, y_batch)``.

    Raises
    ------
    KfgnError
        ParameterError, UnmatchedParameterError, NotABatchLossError, CurvatureRuleNotFound
        for a graph that cannot be read; BatchError for incomplete inputs; SpecError for a setting
        that is not allowed; BackendError for a backend that cannot be used.

    Warns
    -----
    ZeroCurvatureWarning
        If the loss is piecewise linear in its output, and no surrogate is given.

    See Also
    --------
    Settings : the keyword arguments from ``method`` on, as one object.
    """
    chosen = settings_from(settings, compile_update)
    preconditioner_of(chosen.method)  # refuses a method that cannot train
    compiler = resolve_backend(backend, devices)
    with fast_graph_construction():
        source = Source(loss, params, output, unmatched, surrogate, batch_statistics)
        update = Update(source, inputs, chosen, compiler)
    check_dtypes(loss, compiler.name)
    warn_if_flat(update.graph)
    return update
