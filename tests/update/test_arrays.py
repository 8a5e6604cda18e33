"""Every kind of array that a batch can be: read as its numbers, or refused by the input's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
import scipy.sparse

import kfgn_graph as kfgn
from tests.stepping import assert_identical, slow, state_of

pytestmark = pytest.mark.thorough

N, D = 6, 3
X = np.random.default_rng(0).normal(size=(N, D))
Y = np.random.default_rng(1).normal(size=(N, 1))


class Duck:
    """An array of another library: a shape, a dtype, and a conversion to NumPy."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array


class Foreign:
    """An array that NumPy cannot read."""

    shape, ndim, dtype = (N, D), 2, "torch.float64"


class Closed(Foreign):
    """An array whose conversion raises, such as one on a GPU."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("cannot convert a tensor on device cuda")


class Subclass(np.ndarray):
    """A subclass of NumPy's array."""


def unaligned(a: np.ndarray) -> np.ndarray:
    view = np.frombuffer(bytearray(a.nbytes + 1), np.uint8)[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    assert not view.flags.aligned
    return view


def read_only(a: np.ndarray) -> np.ndarray:
    copy = a.copy()
    copy.setflags(write=False)
    return copy


def of_jax(a: np.ndarray) -> Any:
    return pytest.importorskip("jax").numpy.asarray(a)


READABLE: dict[str, Callable[[np.ndarray], Any]] = {
    "duck": Duck,
    "jax": of_jax,
    "list": lambda a: a.tolist(),
    "masked_nowhere": lambda a: np.ma.masked_greater(a, 1e9),
    "other_byte_order": lambda a: a.astype(a.dtype.newbyteorder()),
    "read_only": read_only,
    "subclass": lambda a: a.view(Subclass),
    "unaligned": unaligned,
}


@pytest.fixture(scope="module", params=["jax", slow("numba"), slow("c")])
def update(request: pytest.FixtureRequest) -> kfgn.Update:
    """A linear regression with a scalar input, two updates old."""
    x, y, beta = (
        pt.matrix("x", shape=(None, D)),
        pt.matrix("y", shape=(None, 1)),
        pt.scalar("beta"),
    )
    W = pytensor.shared(np.zeros((D, 1)), name="W", shape=(D, 1))
    loss = ((x @ W - y) ** 2).sum(axis=1).mean() * beta
    update = kfgn.compile_update(loss, [W], [x, y, beta], backend=request.param)
    update(X, Y, 0.5)
    return update


@pytest.mark.parametrize("kind", READABLE)
def test_an_array_of_any_kind_is_read_as_its_numbers(kind: str, update: kfgn.Update) -> None:
    before, convert = state_of(update), READABLE[kind]
    update(X, Y, np.float64(0.5))
    wanted = state_of(update)
    for batch in ((convert(X), Y, 0.5), (X, convert(Y), np.asarray(0.5))):
        update.load_state(before)
        update(*batch)
        assert_identical(state_of(update), wanted)
    update.load_state(before)
    update.many((convert(X), convert(Y), 0.5), np.arange(N)[None])
    for name, array in state_of(update).items():
        np.testing.assert_allclose(array, wanted[name], rtol=1e-9, atol=1e-12)


def test_a_mapped_file_is_read(update: kfgn.Update, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    before = state_of(update)
    update(X, Y, 0.5)
    wanted = state_of(update)
    update.load_state(before)
    update(np.load(tmp_path / "x.npy", mmap_mode="r"), Y, 0.5)
    assert_identical(state_of(update), wanted)


@pytest.mark.parametrize(
    ("x", "remedy"),
    [
        (np.ma.masked_greater(X, 0), "masked entries.*filled"),
        (scipy.sparse.csr_matrix(X), r"sparse.*\.toarray\(\)"),
        (scipy.sparse.csr_array(X), r"sparse.*\.toarray\(\)"),
        (Foreign(), "Foreign.*float64"),
        (Closed(), "Closed.*device cuda.*NumPy"),
        ([[1.0, 2.0, 3.0], [1.0]] * 3, "list.*NumPy"),
        (pt.matrix("other"), "symbolic variable 'other'"),
        (X.astype(np.longdouble), "astype"),
        (np.zeros(N, [("a", float)]), "astype"),
        (np.zeros((N, D), "datetime64[s]"), "astype"),
        (None, "NoneType"),
    ],
    ids=lambda v: type(v).__name__,
)
def test_an_array_that_cannot_be_read_is_refused(x: Any, remedy: str, update: kfgn.Update) -> None:
    before = state_of(update)
    for call in (update, lambda *data: update.many(data, np.arange(N)[None])):
        with pytest.raises(kfgn.BatchError, match=rf"(?s)'x'.*{remedy}"):
            call(x, Y, 0.5)
    assert_identical(state_of(update), before)


def test_masked_rows_are_refused(update: kfgn.Update) -> None:
    with pytest.raises(kfgn.BatchError, match="masked"):
        update.many((X, Y, 0.5), np.ma.masked_equal(np.arange(N)[None], 3))


def test_an_array_of_jax_that_no_longer_exists_is_refused(update: kfgn.Update) -> None:
    jax = pytest.importorskip("jax")
    deleted = jax.numpy.asarray(X)
    deleted.delete()
    with pytest.raises(kfgn.BatchError, match=r"'x'.*deleted"):
        update(deleted, Y, 0.5)
    with pytest.raises(kfgn.BatchError, match=r"(?s)'x'.*trace"):
        jax.jit(lambda a: update(a, Y, 0.5).loss)(X)


def test_jax_keeps_an_array_on_its_device() -> None:
    jax = pytest.importorskip("jax")
    from kfgn_graph.backends.jax.backend import JAXBackend

    held = jax.numpy.asarray(X)
    assert JAXBackend().array(held) is held


def test_a_number_of_python_takes_the_dtype_of_its_input() -> None:
    x, y, scale = pt.fmatrix("x"), pt.fmatrix("y"), pt.fscalar("scale")
    W = pytensor.shared(np.zeros((D, 1), "float32"), name="W")
    loss = ((x @ W - y) ** 2).sum(axis=1).mean() * scale
    update = kfgn.compile_update(loss, [W], [x, y, scale], backend="jax")
    single = X.astype("float32"), Y.astype("float32")
    assert update(*single, 2).loss == pytest.approx(2 * np.mean(single[1] ** 2), rel=1e-6)
    with pytest.raises(kfgn.BatchError, match=r"'scale'.*float32"):
        update(*single, np.float64(2.0))


@pytest.mark.parametrize("many", [False, True])
def test_a_batch_may_be_overwritten_once_the_call_has_returned(many: bool) -> None:
    rng = np.random.default_rng(3)
    data = rng.normal(size=(2000, 300)), rng.normal(size=(2000, 4))
    x, y = pt.matrix("x", shape=(None, 300)), pt.matrix("y", shape=(None, 4))
    V = pytensor.shared(rng.normal(size=(300, 200)) / 20, name="V", shape=(300, 200))
    W = pytensor.shared(rng.normal(size=(200, 4)) / 20, name="W", shape=(200, 4))
    loss = ((pt.tanh(x @ V) @ W - y) ** 2).sum(axis=1).mean()
    update = kfgn.compile_update(loss, [V, W], [x, y], backend="jax")
    rows = np.arange(2000).reshape(2, 1000)
    call = (lambda *batch: update.many(batch, rows)) if many else update
    call(*data)
    before = state_of(update)
    wanted = np.asarray(call(*data).loss), state_of(update)
    update.load_state(before)
    buffers = tuple(map(aligned, data))
    stats = call(*buffers)
    for buffer in buffers:
        buffer[...] = 7.0
    np.testing.assert_array_equal(stats.loss, wanted[0])
    assert_identical(state_of(update), wanted[1])


def aligned(a: np.ndarray) -> np.ndarray:
    """Return a copy at an address whose memory JAX takes over."""
    memory = np.empty(a.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + a.nbytes].view(a.dtype).reshape(a.shape)
    copy[...] = a
    return copy


# --- data that the loss itself reads ----------------------------------------------------------


@pytest.mark.parametrize("backend", ["jax", slow("numba"), slow("c")])
@pytest.mark.parametrize("form", ["shared", "constant", "index"])
def test_data_in_the_graph_are_a_batch(form: str, backend: str) -> None:
    data = pytensor.shared(X, name="X"), pytensor.shared(Y, name="Y")
    i = pt.lscalar("i")
    inputs: list[Any] = []
    x, y = data
    if form == "constant":
        x, y = pt.constant(X), pt.constant(Y)
    elif form == "index":
        inputs, x, y = [i], x[i * 4 : (i + 1) * 4], y[i * 4 : (i + 1) * 4]

    def built(x: Any, y: Any, inputs: list[Any]) -> tuple[kfgn.Update, Any]:
        W = pytensor.shared(np.zeros((D, 1)), name="W", shape=(D, 1))
        loss = ((x @ W - y) ** 2).sum(axis=1).mean()
        return kfgn.compile_update(loss, [W], inputs, backend=backend), W

    update, W = built(x, y, inputs)
    explicit = pt.matrix("x", shape=(None, D)), pt.matrix("y", shape=(None, 1))
    plain, V = built(*explicit, list(explicit))
    for k in (0, 1, 0):
        rows = slice(k * 4, (k + 1) * 4) if form == "index" else slice(None)
        stats = update(k) if form == "index" else update()
        assert stats.loss == pytest.approx(plain(X[rows], Y[rows]).loss, rel=1e-10)
        np.testing.assert_allclose(W.get_value(), V.get_value(), rtol=1e-9)
    if form == "index":
        with pytest.raises(kfgn.BatchError, match="no examples"):
            update(2)
    if form == "shared":  # more data, of another shape
        data[0].set_value(np.concatenate([X, X]))
        data[1].set_value(np.concatenate([Y, -Y]))
        wanted = plain(np.concatenate([X, X]), np.concatenate([Y, -Y])).loss
        assert update().loss == pytest.approx(wanted, rel=1e-10)
    with pytest.raises(kfgn.BatchError, match="rows"):
        update.many([0] * len(inputs), [[0, 1]])
