"""A loss is computed in the parameters' dtype, whatever dtypes it meets."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest

import kfgn_graph as kfgn
from tests.harness import MODES, assert_close, in_python
from tests.reference.output_curvature import gauss_newton
from tests.stepping import on_backends
from tests.tolerances import SINGLE

N, D, K = 8, 3, 2
WEIGHTS = np.array([0.5, 2.0])

#: Losses of outputs z, float64 targets T, integer targets k (N, K) and labels y (N,), each
#: written once for PyTensor and JAX (``m``), with a float64 number s and a table w of two.
FORMS = {
    "integer labels": lambda m, z, T, k, y, s, w: (m.exp(z[:, 0]) - y * z[:, 0]).mean(),
    "integer targets": lambda m, z, T, k, y, s, w: ((z - k) ** 2).mean(),
    "double targets": lambda m, z, T, k, y, s, w: ((z - T) ** 2).sum(axis=1).mean(),
    "double constant": lambda m, z, T, k, y, s, w: (((z - T) / np.float64(0.3)) ** 2).mean(),
    "double array": lambda m, z, T, k, y, s, w: (WEIGHTS * (z - T) ** 2).mean(axis=0).sum(),
    "double scale": lambda m, z, T, k, y, s, w: (((z - k) / s) ** 2).mean(),
    "class weights": lambda m, z, T, k, y, s, w: (w[y] * m.exp(z[:, 0])).mean(),
    "sum over a size": lambda m, z, T, k, y, s, w: ((z - T) ** 2).sum() / T.shape[0],
    "dtype of a mean": lambda m, z, T, k, y, s, w: ((z - k) ** 2).mean(dtype="float64"),
    "cast up": lambda m, z, T, k, y, s, w: ((z.astype("float64") - T) ** 2).mean(),
    "maximum": lambda m, z, T, k, y, s, w: ((z * T).max(axis=1) ** 2).mean(),
    "stacked": lambda m, z, T, k, y, s, w: m.stack([((z - T) ** 2).sum(), (z**2).sum()]).sum(),
    "joined": lambda m, z, T, k, y, s, w: (m.concatenate([z, T - k], axis=1) ** 4).sum(),
    "integer joined": lambda m, z, T, k, y, s, w: (m.concatenate([z, k], axis=1) ** 4).sum(),
    "mask": lambda m, z, T, k, y, s, w: m.where(k > 0, (z - T) ** 2, 0.0).sum() / (k > 0).sum(),
}


class Tensors:
    """The functions of PyTensor that the losses take."""

    exp, stack, concatenate, where = pt.exp, pt.stack, pt.concatenate, pt.switch


def network(inputs_dtype: str) -> tuple[list[pt.TensorVariable], ...]:
    """Return parameters in float32, the output, and all that the losses read."""
    r = np.random.default_rng(3)
    W = pytensor.shared(r.normal(size=(D, K)).astype("float32"), name="W", shape=(D, K))
    b = pytensor.shared(r.normal(size=K).astype("float32"), name="b", shape=(K,))
    x = pt.tensor("x", dtype=inputs_dtype, shape=(None, D))
    data = [pt.dmatrix("T"), pt.lmatrix("k"), pt.lvector("y")]
    others = [pytensor.shared(0.7, name="s"), pytensor.shared(WEIGHTS, name="w")]
    return [W, b], [x, *data], [x @ W + b, *data, *others]


def batch(inputs_dtype: str) -> list[np.ndarray]:
    r = np.random.default_rng(4)
    return [
        r.normal(size=(N, D)).astype(inputs_dtype),
        r.normal(size=(N, K)),
        r.integers(0, 3, (N, K)),
        r.integers(0, 2, N),
    ]


@pytest.mark.parametrize("inputs_dtype", ["float64", "float16"])
@pytest.mark.parametrize("form", list(FORMS))
def test_a_loss_of_many_dtypes_is_computed_in_single_precision(
    form: str, inputs_dtype: str
) -> None:
    params, inputs, reads = network(inputs_dtype)
    arrays = batch(inputs_dtype)
    graph = kfgn.trace_layers(FORMS[form](Tensors, *reads), params, output=None)
    v = [np.full(p.get_value().shape, 0.5, "float32") for p in params]
    products = kfgn.gauss_newton_product(graph, [pt.constant(a) for a in v])
    outputs = [graph.loss, *products]
    assert {o.type.dtype for o in outputs} == {"float32"}
    loss, *found = in_python(inputs, outputs)(*arrays)

    x, T, k, y = arrays
    values = [p.get_value() for p in params]

    def forward(W: jax.Array, b: jax.Array) -> list[jax.Array]:
        return [x.astype("float64") @ W + b]

    def loss_of(z: list[jax.Array]) -> jax.Array:
        return FORMS[form](jnp, z[0], T, k, y, 0.7, jnp.asarray(WEIGHTS))

    exact = [np.asarray(a, "float64") for a in values]
    assert_close(loss, np.asarray(loss_of(forward(*exact))), SINGLE)
    flat = np.concatenate([a.ravel() for a in v]).astype("float64")
    wanted = gauss_newton(forward, loss_of, values) @ flat
    assert_close(np.concatenate([a.ravel() for a in found]), wanted, SINGLE)


@pytest.mark.parametrize("backend", on_backends(MODES))
def test_training_in_single_precision_on_data_of_many_dtypes(backend: str) -> None:
    params, inputs, reads = network("float64")
    loss = sum(form(Tensors, *reads) for form in FORMS.values())
    value = pytensor.function(inputs, loss, mode="FAST_COMPILE")
    arrays = batch("float64")
    before = value(*arrays)
    update = kfgn.compile_update(loss, params, inputs, backend=backend)
    stats = [update(*arrays) for _ in range(5)]
    np.testing.assert_allclose(float(stats[0].loss), before, rtol=SINGLE)
    assert float(stats[-1].loss) < float(stats[0].loss)
    assert not any(s.skipped for s in stats)


def test_preprocessing_keeps_the_precision_of_the_data() -> None:
    """Time stamps in seconds differ by less than the spacing of float32 numbers of their size."""
    W = pytensor.shared(np.ones((1, 1), "float32"), name="W", shape=(1, 1))
    t, y = pt.dmatrix("t"), pt.fmatrix("y")
    x = (t - 1.7e9) / np.array([[4.0]])
    graph = kfgn.trace_layers(((x @ W - y) ** 2).mean(), [W])
    stamps = 1.7e9 + np.arange(6.0)[:, None]
    targets = np.zeros((6, 1), "float32")
    wanted = np.mean((np.arange(6.0) / 4) ** 2)
    assert graph.loss.type.dtype == "float32"
    np.testing.assert_allclose(in_python([t, y], [graph.loss])(stamps, targets)[0], wanted, SINGLE)


def test_a_cast_to_a_narrower_dtype_rounds() -> None:
    W = pytensor.shared(np.eye(1), name="W", shape=(1, 1))
    x = pt.dmatrix("x")
    graph = kfgn.trace_layers(((x.astype("float32") @ W) ** 2).mean(), [W])
    assert graph.loss.type.dtype == "float64"
    found = in_python([x], [graph.loss])(np.full((2, 1), 0.1))[0]
    assert found == np.float64(np.float32(0.1)) ** 2


def test_half_precision_parameters_are_refused() -> None:
    W = pytensor.shared(np.ones((D, K), "float16"), name="half", shape=(D, K))
    loss = ((pt.tensor("x", dtype="float16", shape=(None, D)) @ W) ** 2).mean()
    with pytest.raises(kfgn.ParameterError, match=r"(?s)half.*float16.*float32"):
        kfgn.trace_layers(loss, [W])


def test_half_precision_data_on_numba_are_refused() -> None:
    W = pytensor.shared(np.ones((D, K), "float32"), name="W", shape=(D, K))
    x = pt.tensor("half_data", dtype="float16", shape=(None, D))
    with pytest.raises(kfgn.BackendError, match=r"(?s)half_data.*float16.*float32"):
        kfgn.compile_update(((x @ W) ** 2).mean(), [W], [x], backend="numba")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "bool", "int64"])
def test_factors_of_integer_inputs_do_not_wrap(dtype: str) -> None:
    W = pytensor.shared(np.ones((D, K), "float32"), name="W", shape=(D, K))
    x = pt.tensor("x", dtype=dtype, shape=(None, 2, D))
    graph = kfgn.trace_layers(((x @ W) ** 2).mean(), [W])
    factors = kfgn.curvature_factors(graph, kfgn.KFLR())
    (block,) = kfgn.curvature_factors(graph, kfgn.BlockGaussNewton()).values()
    X = np.random.default_rng(0).integers(-100, 100, (N, 2, D)).astype(dtype)
    (layer,) = factors
    Q, exact = in_python([x], [factors[layer].Q, block.to_dense()])(X)
    rows = X.astype("float64")
    dense = rows.reshape(-1, D).T @ rows.reshape(-1, D)
    assert Q.dtype == "float32"
    assert_close(Q, dense / (2 * N), SINGLE)
    assert_close(exact, np.kron(dense, 2 / (2 * N * K) * np.eye(K)), SINGLE)


@pytest.mark.parametrize("method", [kfgn.KFLR(), kfgn.KFRA()], ids=str)
def test_curvature_through_a_comparison_stays_single(method: kfgn.KFLR | kfgn.KFRA) -> None:
    """PyTensor's derivative of a comparison has the dtype floatX, and its shapes are unknown."""
    W = pytensor.shared(np.ones((D, K), "float32"), name="W")
    loss = (pt.fmatrix("x") @ W).max(axis=1)
    graph = kfgn.trace_layers((loss**2).mean(), [W])
    (factors,) = kfgn.curvature_factors(graph, method).values()
    assert {factors.Q.type.dtype, factors.G.type.dtype} == {"float32"}
